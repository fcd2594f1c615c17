"""Games on the line and in the plane: the same Algorithm 1, exact reports, modes counted."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from gancli.errors import UsageError
from gancli.theory import line
from gancli.theory.coverage import measure_coverage, play_plane
from gancli.theory.line import LineResult, compare, play_line
from gancli.theory.optimum import train_to_optimum
from gancli.theory.play import Play, game_config
from gancli.theory.show import show
from gancli.theory.targets import TARGETS, Line, Plane, get_target

ONE, RING = TARGETS["one"], TARGETS["ring"]
assert isinstance(ONE, Line)
assert isinstance(RING, Plane)


@pytest.fixture(scope="module")
def played() -> Iterator[LineResult]:
    assert isinstance(ONE, Line)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(line, "_MOST_G_STEPS", 3)
        yield play_line(ONE, Play(ONE, game_config(ONE, k=2, loss="non-saturating", seed=2, steps=40)), [0, 20, 40])


def test_a_game_on_the_line_comes_nearer_and_is_reported_exactly(played: LineResult) -> None:
    assert [report.step for report in played.reports] == [0, 20, 40]
    assert played.reports[-1].jsd < played.reports[0].jsd
    for report in played.reports:
        assert report.value <= report.c_of_g + 1e-9
        assert report.c_of_g == pytest.approx(-math.log(4) + 2 * report.jsd, abs=1e-12)
        assert 0 <= report.largest_error <= 1
    assert len(played.frames) == 3


def test_the_four_panels_are_what_they_say(played: LineResult) -> None:
    a, b, c, d = played.panels
    assert np.array_equal(a.p_g, b.p_g)  # only D moves to (b)
    assert not np.array_equal(a.d, b.d)
    seen = a.p_data + a.p_g > 0.05
    optimal = a.p_data / (a.p_data + a.p_g)
    assert np.abs(b.d - optimal)[seen].max() < 0.05
    assert np.array_equal(b.d, c.d)  # only G moves to (c)
    assert not np.array_equal(b.p_g, c.p_g)
    assert np.array_equal(d.p_data, a.p_data)


def test_g_descends_against_a_d_that_stays() -> None:
    play = Play(ONE, game_config(ONE, k=1, loss="non-saturating", seed=2, steps=10))
    weights = [parameter.clone() for parameter in play.game.D.parameters()]
    before = compare(ONE, play).jsd
    play.descend_G(play.game)
    assert all(torch.equal(a, b) for a, b in zip(weights, play.game.D.parameters(), strict=True))
    assert compare(ONE, play).jsd != before


def test_where_no_step_of_g_helps_another_rate_is_tried_and_none_is_said_to_be_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(line, "_MOST_G_STEPS", 2)
    play = Play(ONE, game_config(ONE, k=2, loss="minimax", seed=2, steps=10))
    play.run([10], lambda step: None)
    before = compare(ONE, play)
    game = replace(play.game, D=train_to_optimum(play.game.D, before, 30))
    monkeypatch.setattr(line, "_SHARES_OF_RATE", (0.0, 1.0))  # no step at the first helps
    steps, after = line._steps_of_g(ONE, play, game, before)
    assert steps > 0
    assert after.jsd < before.jsd
    monkeypatch.setattr(line, "_SHARES_OF_RATE", (0.0,))
    assert line._steps_of_g(ONE, play, game, before) == (0, before)


def test_seed_and_loss_decide_a_game() -> None:
    def jsd(**changes: object) -> float:
        config = game_config(ONE, k=1, loss="minimax", seed=2, steps=5).replace(**changes)
        play = Play(ONE, config)
        play.run([5], lambda step: None)
        return compare(ONE, play).jsd

    assert jsd() == jsd()
    assert len({jsd(), jsd(seed=3), jsd(loss="non-saturating"), jsd(k=2)}) == 4


def test_modes_are_counted_as_defined() -> None:
    target = replace(RING, centres=((0.0, 0.0), (10.0, 0.0), (20.0, 0.0)), std=1.0)
    near = torch.zeros(60, 2)
    edge = torch.tensor([[10.0, 2.99]]).expand(30, 2)
    outside = torch.tensor([[20.0, 3.01]]).expand(10, 2)
    found = measure_coverage(torch.cat([near, edge, outside]), target)
    assert (found.captured, found.modes, found.good) == (2, 3, 0.9)
    # A fair share is 100/3 samples; a tenth of it is 3.3: three samples are too few, four enough.
    few = torch.tensor([[20.0, 0.0]])
    for count, captured in ((3, 2), (4, 3)):
        samples = torch.cat([near, edge, few.expand(count, 2), outside[: 10 - count]])
        assert measure_coverage(samples, target).captured == captured


@pytest.mark.parametrize("name", ["ring", "grid"])
def test_data_of_the_plane_cover_all_of_their_modes(name: str) -> None:
    target = TARGETS[name]
    assert isinstance(target, Plane)
    x = target.draw(0)
    assert x.shape[1:] == (2, 1, 1)
    found = measure_coverage(x.flatten(1), target)
    assert found.captured == found.modes == {"ring": 8, "grid": 25}[name]
    # Three standard deviations hold 1 − e^−4.5 of a round normal.
    assert found.good == pytest.approx(1 - math.exp(-4.5), abs=0.003)


def test_a_game_in_the_plane_leaves_reports_and_clouds() -> None:
    play = Play(RING, game_config(RING, k=1, loss="minimax", seed=1, steps=4))
    result = play_plane(RING, play, [0, 4])
    assert [report.step for report in result.reports] == [0, 4]
    assert result.clouds[0].shape == result.data.shape == (2500, 2)
    assert not np.array_equal(*result.clouds)


def test_unknown_data_are_named() -> None:
    with pytest.raises(UsageError, match="one, several, far, ring, grid, got 'two'"):
        get_target("two")


def test_what_is_shown_is_what_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gancli.theory.show.FRAMES", 2)
    monkeypatch.setattr("gancli.figures.movie._REST", 0)
    monkeypatch.setattr("gancli.theory.show.check_all", lambda data, config: iter(()))
    monkeypatch.setattr("gancli.theory.line.train_to_optimum", lambda D, comparison: D.double())
    monkeypatch.setattr("gancli.theory.line._MOST_G_STEPS", 2)
    shown = show("several", Path("out"), k=1, steps=4, seed=1)
    assert {path.name for path in shown.files} >= {
        "figure1.png",
        "curves.png",
        "saturation.png",
        "training.gif",
        "theory.json",
    }
    assert all(path.stat().st_size > 1000 for path in shown.files)
    content = json.loads(Path("out/theory.json").read_text())
    assert content["reports"][-1]["step"] == 4
    assert content["reports"][0]["kl_data_model"] is None  # infinite: JSON has no word for it
