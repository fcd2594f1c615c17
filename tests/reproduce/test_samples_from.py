"""Samples from the best epoch or from the last: the same training, another generator kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from gancli.cli import main
from gancli.data.samples import read_samples
from gancli.errors import UsageError
from gancli.reproduce.targets import Target
from gancli.train.checkpoints import load_checkpoint
from gancli.train.judge import Judge
from gancli.train.run_folder import RunFolder

Reproduce = Callable[..., dict[str, Any]]


@pytest.fixture
def first_is_best(monkeypatch: pytest.MonkeyPatch) -> None:
    """Validation says that every epoch is worse than the one before it."""
    values = iter(range(-1, -1000, -1))
    monkeypatch.setattr(Judge, "validate", lambda *_: (float(next(values)), 0.5))


def row_of(result: dict[str, Any]) -> dict[str, Any]:
    return result["seeds"][0]


@pytest.mark.usefixtures("first_is_best", "untimed")
def test_the_last_epoch_is_kept_and_sampled_after_the_same_training(
    tiny: Target, tmp_path: Path, reproduce: Reproduce
) -> None:
    best = row_of(reproduce(tiny, tmp_path / "best", seeds=1, samples_from="best"))
    last = row_of(reproduce(tiny, tmp_path / "last", seeds=1, samples_from="last"))
    kept, given_up = RunFolder(Path(best["run"])), RunFolder(Path(last["run"]))
    assert (best["best_epoch"], last["best_epoch"]) == (1, 3)
    assert (load_checkpoint(kept.best)["step"], given_up.best.exists()) == (5, False)
    weights, same = load_checkpoint(kept.last)["G"], load_checkpoint(given_up.last)["G"]
    assert all(torch.equal(weights[name], same[name]) for name in weights)
    samples = read_samples(given_up.samples_file).samples
    assert not torch.equal(samples, read_samples(kept.samples_file).samples)
    drawn = tmp_path / "drawn.pt"
    command = ["sample", "--run", str(kept.path), "--checkpoint", "last", "--num", "60", "--out", str(drawn)]
    assert CliRunner().invoke(main, command, catch_exceptions=False).exit_code == 0
    assert torch.equal(samples, read_samples(drawn).samples)


@pytest.mark.usefixtures("first_is_best", "untimed")
def test_the_best_epoch_may_be_given_up_later_but_not_got_back(
    tiny: Target, tmp_path: Path, reproduce: Reproduce, quiet: Any
) -> None:
    whole = row_of(reproduce(tiny, tmp_path / "last", seeds=1, samples_from="last"))
    out = tmp_path / "best"
    reproduce(tiny, out, seeds=1)
    watch = quiet()
    given_up = row_of(reproduce(tiny, out, seeds=1, samples_from="last", watch=watch))
    assert watch.trained == ["seed-1"]  # for no iteration, only to be scored again
    run = RunFolder(Path(given_up["run"]))
    assert (run.best.exists(), given_up["steps"], given_up["best_epoch"]) == (False, 15, 3)
    assert given_up["log_likelihood"] == whole["log_likelihood"]
    again = quiet()
    reproduce(tiny, out, seeds=1, samples_from="last", watch=again)
    assert again.trained == []
    with pytest.raises(UsageError, match="trained with --samples-from 'last', this reproduction takes 'best'"):
        reproduce(tiny, out, seeds=1)
    refused = CliRunner().invoke(main, ["train", "--resume", str(run.path), "--samples-from", "best"])
    assert refused.exit_code == 2
    assert "--samples-from cannot change while a run goes on: it has 'last'" in refused.stderr
