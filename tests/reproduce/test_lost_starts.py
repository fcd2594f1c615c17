"""Starts that diverge: they are lost, the others go on, and nothing else counts as a loss."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gancli.errors import GancliError, WriteError
from gancli.reproduce.targets import Target
from gancli.train.run_folder import RunFolder
from gancli.train.trainer import Trainer

Reproduce = Callable[..., dict[str, Any]]
Lasting = Callable[[dict[str, Any]], dict[str, Any]]
pytestmark = pytest.mark.usefixtures("untimed")


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """Seeds of whose D a weight becomes NaN in iteration 8, of the second epoch."""
    seeds: set[int] = set()
    iterate = Trainer._iterate

    def poison(self: Trainer, epoch: int) -> Any:
        if self.config.seed in seeds and self.step == 7:
            self.game.D.weighted[0].bias.data[0, 0] = float("nan")
        return iterate(self, epoch)

    monkeypatch.setattr(Trainer, "_iterate", poison)
    return seeds


def test_a_start_that_diverges_is_lost_and_the_others_go_on(
    tiny: Target,
    tmp_path: Path,
    reproduce: Reproduce,
    quiet: Any,
    lasting: Lasting,
    poisoned: set[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    poisoned |= {1, 3}
    watch = quiet()
    result = reproduce(tiny, tmp_path / "out", starts=4, watch=watch)
    assert result["starts"]["chosen"] == [2, 4]
    for seed in (1, 3):
        assert any(f"start {seed} is lost: it diverged at iteration 8: " in sentence for sentence in watch.sentences)
        row, told = result["starts"]["seeds"][seed - 1], RunFolder(tmp_path / f"out/seed-{seed}").read_metrics()
        assert len(told) == 1
        assert row["diverged"].startswith("at iteration 8: the output of layer 1 of D")
        assert row["validation_log_likelihood"] == told[0]["validation_log_likelihood"]
        assert not row["went_on"]
    assert "diverged at iteration 8" in (tmp_path / "out/result.md").read_text()
    monkeypatch.setattr(Trainer, "train", lambda *_: pytest.fail("trained again"))
    assert lasting(reproduce(tiny, tmp_path / "out", starts=4)) == lasting(result)


def test_a_lost_start_is_tried_again_once_its_run_is_removed(
    tiny: Target, tmp_path: Path, reproduce: Reproduce, poisoned: set[int]
) -> None:
    poisoned.add(1)
    assert reproduce(tiny, tmp_path / "out", seeds=1, starts=2)["starts"]["chosen"] == [2]
    poisoned.clear()
    shutil.rmtree(tmp_path / "out/seed-1")
    again = reproduce(tiny, tmp_path / "out", seeds=1, starts=2)["starts"]["seeds"][0]
    assert again["diverged"] is None
    told = RunFolder(tmp_path / "out/seed-1").read_metrics()[:2]
    assert again["validation_log_likelihood"] == max(row["validation_log_likelihood"] for row in told)


def test_more_losses_than_there_are_starts_to_spare_end_it(
    tiny: Target, tmp_path: Path, reproduce: Reproduce, quiet: Any, poisoned: set[int]
) -> None:
    poisoned |= {1, 2}
    watch = quiet()
    with pytest.raises(GancliError, match=r"2 of 3 starts diverged \(seeds 1, 2\), so that 2 can no longer be chosen"):
        reproduce(tiny, tmp_path / "out", starts=3, watch=watch)
    assert watch.trained == ["seed-1", "seed-2"]
    again = quiet()
    with pytest.raises(GancliError, match=r"2 of 3 starts diverged"):
        reproduce(tiny, tmp_path / "out", starts=3, watch=again)
    assert again.trained == []
    more = reproduce(tiny, tmp_path / "out", starts=4)
    assert more["starts"]["chosen"] == [3, 4]


def test_a_full_disk_is_no_divergence(
    tiny: Target, tmp_path: Path, reproduce: Reproduce, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise WriteError("No space left on device")

    monkeypatch.setattr("gancli.train.trainer.save_checkpoint", full)
    with pytest.raises(WriteError, match="No space left"):
        reproduce(tiny, tmp_path / "out", seeds=1, starts=3)
    assert not (tmp_path / "out/starts.json").exists()


def test_a_chosen_start_that_diverges_later_gives_way_to_the_next_best(
    tiny: Target, tmp_path: Path, reproduce: Reproduce, quiet: Any, lasting: Lasting, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = reproduce(tiny, tmp_path / "whole", seeds=1, starts=3)
    (first,) = whole["starts"]["chosen"]
    iterate = Trainer._iterate

    def poison(self: Trainer, epoch: int) -> Any:
        if self.config.seed == first and self.step == 12:  # of 15; the choice is made after 10
            self.game.D.weighted[0].bias.data[0, 0] = float("nan")
        return iterate(self, epoch)

    monkeypatch.setattr(Trainer, "_iterate", poison)
    watch = quiet()
    result = reproduce(tiny, tmp_path / "out", seeds=1, starts=3, watch=watch)
    (second,) = result["starts"]["chosen"]
    figures = {row["seed"]: row["validation_log_likelihood"] for row in whole["starts"]["seeds"]}
    assert second == max((seed for seed in figures if seed != first), key=figures.__getitem__)
    assert [row["seed"] for row in result["seeds"]] == [second]
    row = result["starts"]["seeds"][first - 1]
    assert (row["diverged"][:15], row["went_on"]) == ("at iteration 13", False)
    told = [sentence for sentence in watch.sentences if "lost" in sentence or "chosen" in sentence]
    assert [sentence.split(":")[0] for sentence in told] == [
        "chosen by validation",
        f"start {first} is lost",
        "chosen by validation",
    ]
    monkeypatch.setattr(Trainer, "train", lambda *_: pytest.fail("trained again"))
    assert lasting(reproduce(tiny, tmp_path / "out", seeds=1, starts=3)) == lasting(result)
