"""`gancli theory` and `gancli evaluate` as people use them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typed import gancli

from gancli.cli.theory import DATA
from gancli.theory.propositions import Check
from gancli.theory.show import Shown
from gancli.theory.targets import TARGETS


def test_the_help_names_the_data_that_there_are() -> None:
    assert tuple(TARGETS) == DATA


def test_theory_in_the_plane_prints_reports_and_writes_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gancli.figures.movie._REST", 0)
    result = gancli("theory", "--data", "ring", "--steps", "3", "--k", "2", "--loss", "minimax", "--out", "ring")
    assert result.exit_code == 0
    assert "modes captured  good samples" in result.stdout
    assert [line.split()[0] for line in result.stdout.splitlines() if " of 8" in line] == ["0", "3"]
    for name in ("coverage.png", "training.gif", "theory.json"):
        assert f"wrote ring/{name}" in result.stdout
        assert Path("ring", name).stat().st_size > 500
    settings = json.loads(Path("ring/theory.json").read_text())
    assert (settings["k"], settings["loss"], settings["steps"]) == (2, "minimax", 3)


def test_theory_json_is_one_object(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gancli.theory.show.FRAMES", 2)
    monkeypatch.setattr("gancli.figures.movie._REST", 0)
    result = gancli("theory", "--data", "grid", "--steps", "4", "--json")
    content = json.loads(result.stdout)
    assert content["data"] == "grid"
    assert [(report["step"], report["modes"]) for report in content["reports"]] == [(0, 25), (1, 25), (4, 25)]
    assert "theory/theory.json" in content["files"]
    assert "modes captured" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--data", "two"], "--data must be one of one, several, far, ring, grid, got 'two'"),
        (["--loss", "hinge"], "--loss must be one of minimax, non-saturating, got 'hinge'"),
        (["--k", "0"], "--k"),
        (["--steps", "1"], "--steps"),
    ],
)
def test_theory_refuses_what_it_does_not_know(arguments: list[str], word: str) -> None:
    result = gancli("theory", *arguments)
    assert result.exit_code == 2
    assert word in result.stderr
    assert not Path("theory").exists()


def test_theory_looks_where_it_is_to_write_before_it_plays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gancli.theory.show.play_plane", lambda *_: pytest.fail("it played first"))
    Path("file").write_text("not a folder")
    result = gancli("theory", "--data", "ring", "--out", "file/ring")
    assert result.exit_code == 1
    assert "a part of the path" in result.stderr


def test_a_claim_that_does_not_hold_fails_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = [Check("a claim", "a case", "a figure", computed, 0.0, 1.0) for computed in (0.5, 2.0)]
    for shown in (checks[:1], checks):
        made = Shown("one", {"k": 1, "loss": "minimax", "seed": 1, "steps": 2}, [], shown)
        monkeypatch.setattr("gancli.theory.show.show", lambda *_, made=made, **__: made)
        for options in ((), ("--json",)):
            assert gancli("theory", *options).exit_code == len(shown) - 1


@pytest.fixture
def small() -> tuple[str, str]:
    """A data set of 1,250 small images, 125 of them test examples, and darker samples."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (1250, 1, 4, 4), dtype=np.uint8)
    np.save("small.npy", pixels)
    np.save("dark.npy", pixels[:200] // 2)
    return "./small.npy", "dark.npy"


def test_evaluate_says_what_was_found_and_from_what(small: tuple[str, str]) -> None:
    data, samples = small
    result = gancli("evaluate", "--samples", samples, "--dataset", data)
    assert result.exit_code == 0
    for words in ("200 samples against 125 test examples", "JSD", "precision", "recall", "density", "coverage", "MMD²"):
        assert words in result.stdout
    assert "training a fresh discriminator" in result.stderr


def test_evaluate_json_is_one_object_and_tells_dark_images_apart(small: tuple[str, str]) -> None:
    data, samples = small
    content = json.loads(
        gancli("evaluate", "--samples", samples, "--dataset", data, "--json", "--neighbours", "3").stdout
    )
    assert content["jsd"]["low"] > 0.2
    assert content["overlap"]["recall"] < 0.5
    assert content["overlap"]["neighbours"] == 3
    assert content["mmd"]["mmd_squared"] > 5 * content["mmd"]["standard_error"]


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (["nowhere"], 1, "nowhere"),
        (["one", "--run", "two"], 2, "give one of them"),
        (["--samples", "dark.npy"], 2, "name the data set with --dataset"),
        (["--samples", "dark.npy", "--dataset", "./small.npy", "--num-samples", "9"], 1, "100 points"),
        (["--samples", "dark.npy", "--dataset", "./small.npy", "--num-samples", "900"], 2, "has 200"),
        (["--samples", "dark.npy", "--dataset", "./small.npy", "--neighbours", "125"], 1, "below the 125 points"),
        (["--samples", "dark.npy", "--dataset", "./small.npy", "--bandwidth", "-1"], 2, "positive number"),
        (["--samples", "dark.npy", "--dataset", "gaussian"], 1, "have shape (1, 4, 4)"),
    ],
)
def test_evaluate_refuses_in_one_sentence(small: tuple[str, str], arguments: list[str], code: int, word: str) -> None:
    result = gancli("evaluate", *arguments)
    assert result.exit_code == code, result.output
    assert word in result.stderr
    assert result.stderr.count("Error:") == 1
