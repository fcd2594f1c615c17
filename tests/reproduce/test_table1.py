"""The MNIST row of Table 1 on a tiny scale: what it leaves, and that no moment of stopping changes it."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gancli.errors import Stopped, UsageError
from gancli.presets import resolve
from gancli.reproduce.table1 import reproduce_table1
from gancli.reproduce.targets import TABLE1_MNIST, Target
from gancli.train.checkpoints import load_checkpoint
from gancli.train.run_folder import RunFolder
from gancli.train.trainer import Trainer

Reproduce = Callable[..., dict[str, Any]]
Lasting = Callable[[dict[str, Any]], dict[str, Any]]


def test_every_seed_is_a_run_and_the_row_is_their_mean(
    tiny: Target, tmp_path: Path, reproduce: Reproduce, quiet: Any
) -> None:
    watch = quiet()
    result = reproduce(tiny, tmp_path / "out", watch=watch)
    assert watch.trained == ["seed-1", "seed-2"]
    values = [json.loads((tmp_path / f"out/seed-{s}/summary.json").read_text())["parzen"]["estimate"] for s in (1, 2)]
    figures = [value["log_likelihood"] for value in values]
    assert figures[0] != figures[1]
    assert [row["log_likelihood"] for row in result["seeds"]] == figures
    assert result["log_likelihood"] == pytest.approx(np.mean(figures))
    assert result["spread"] == pytest.approx(np.std(figures, ddof=1))
    assert result["standard_error"] == pytest.approx(np.mean([value["standard_error"] for value in values]))
    assert (result["lowest"], result["highest"]) == (min(figures), max(figures))
    assert result["paper"]["text"] == "225 ± 2"
    assert json.loads((tmp_path / "out/result.json").read_text()) == json.loads(json.dumps(result))
    assert "| **`mnist`, mean of 2 seeds** |" in (tmp_path / "out/result.md").read_text()
    assert not (tmp_path / "out/.timing").exists()
    assert any("iterations of 20 examples a second" in sentence for sentence in watch.sentences)


def test_the_checkpoint_is_chosen_by_validation_alone(
    tiny: Target, tmp_path: Path, reproduce: Reproduce, quiet: Any
) -> None:
    row = reproduce(tiny, tmp_path / "out", seeds=1, epochs=6)["seeds"][0]
    run = RunFolder(tmp_path / "out/seed-1")
    best = max(run.read_metrics(), key=lambda each: each["validation_log_likelihood"])
    assert load_checkpoint(run.best)["step"] == best["step"]
    assert (row["best_epoch"], row["validation_log_likelihood"]) == (best["epoch"], best["validation_log_likelihood"])


def test_finished_seeds_and_known_context_are_not_made_again(
    tiny: Target, tmp_path: Path, reproduce: Reproduce, quiet: Any, monkeypatch: pytest.MonkeyPatch, lasting: Lasting
) -> None:
    before = reproduce(tiny, tmp_path / "out")
    monkeypatch.setattr(Trainer, "train", lambda *_: pytest.fail("trained again"))
    monkeypatch.setattr("gancli.reproduce.context.parzen_score", lambda *a, **k: pytest.fail("scored again"))
    watch = quiet()
    assert lasting(reproduce(tiny, tmp_path / "out", watch=watch)) == lasting(before)
    assert watch.counted == []
    assert sum("finished" in sentence for sentence in watch.sentences) == 2


def test_a_run_begun_by_train_is_taken_up_and_more_epochs_make_it_longer(
    tiny: Target, tmp_path: Path, reproduce: Reproduce, quiet: Any, lasting: Lasting
) -> None:
    run = RunFolder(tmp_path / "out/seed-1")
    Trainer(tiny.config("mnist", {"seed": 1, "epochs": 2}), run, quiet()).train()
    early = run.read_metrics()
    result = reproduce(tiny, tmp_path / "out", seeds=1, epochs=5)
    assert [row["epoch"] for row in run.read_metrics()] == [1, 2, 3, 4, 5]
    assert run.read_metrics()[:2] == early
    assert lasting(result) == lasting(reproduce(tiny, tmp_path / "unbroken", seeds=1, epochs=5))


def test_ctrl_c_stops_and_the_same_call_goes_on_to_the_same_result(
    tiny: Target, tmp_path: Path, reproduce: Reproduce, quiet: Any, lasting: Lasting
) -> None:
    def interrupt(run: Path, step: int) -> None:
        if (run.name, step) == ("seed-2", 5):
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(Stopped):
        reproduce(tiny, tmp_path / "out", watch=quiet(interrupt))
    assert not (tmp_path / "out/result.json").exists()
    watch = quiet()
    result = reproduce(tiny, tmp_path / "out", watch=watch)
    assert watch.trained == ["seed-2"]
    assert lasting(result) == lasting(reproduce(tiny, tmp_path / "unbroken"))


def test_ctrl_c_while_the_speed_is_measured_stops_too(
    tiny: Target, tmp_path: Path, reproduce: Reproduce, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "gancli.reproduce.timing._Stopwatch.iteration", lambda self, step: signal.raise_signal(signal.SIGINT)
    )
    with pytest.raises(Stopped):
        reproduce(tiny, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_killed_reproduction_goes_on_to_the_result_of_an_unbroken_one(
    tiny: Target, tmp_path: Path, reproduce: Reproduce, quiet: Any, lasting: Lasting, killed_at: Callable[..., None]
) -> None:
    for place in ("checkpoint seed-1", "baselines"):
        killed_at(place, tiny, tmp_path / "broken")
    assert set(json.loads((tmp_path / "broken/context.json").read_text())) == {"white noise", "per-pixel Gaussian"}
    broken, whole = (reproduce(tiny, tmp_path / name) for name in ("broken", "whole"))
    assert lasting(broken) == lasting(whole)
    for seed in ("seed-1", "seed-2"):
        one, other = (load_checkpoint(tmp_path / name / seed / "checkpoints/best.pt") for name in ("broken", "whole"))
        assert all((one["G"][name] == tensor).all() for name, tensor in other["G"].items())


def test_an_average_may_begin_where_the_plain_row_ended_and_is_named(
    tiny: Target, tmp_path: Path, reproduce: Reproduce
) -> None:
    out = tmp_path / "out"
    plain = reproduce(tiny, out, epochs=2)
    with pytest.raises(UsageError, match=r"--average 0\.9 begins with the iterations to come"):
        reproduce(tiny, out, epochs=2, average=0.9)
    averaged = reproduce(tiny, out, epochs=3, average=0.9)
    assert (plain["model"], averaged["model"]) == ("mnist", "mnist --average 0.9")
    assert "**`mnist --average 0.9`, mean of 2 seeds**" in (out / "result.md").read_text(encoding="utf-8")
    assert "gancli reproduce table1-mnist --preset mnist --average 0.9 --seeds 2" in (out / "result.md").read_text()
    for row in averaged["seeds"]:
        assert "average" in load_checkpoint(RunFolder(Path(row["run"])).last)


def test_other_settings_and_longer_runs_are_refused_in_one_sentence(
    tiny: Target, tmp_path: Path, reproduce: Reproduce, quiet: Any
) -> None:
    out = tmp_path / "out"
    Trainer(tiny.config("mnist", {"seed": 1, "lr": 0.05}), RunFolder(out / "seed-1"), quiet()).train()
    with pytest.raises(UsageError, match=r"seed-1 was trained with --lr 0\.05, this reproduction takes 0\.1"):
        reproduce(tiny, out)
    with pytest.raises(
        UsageError, match=r"trained for 15 iterations \(3 epochs\), more than the 5 asked for; ask for 3"
    ):
        reproduce(tiny, out, lr=0.05, epochs=1)
    with pytest.raises(UsageError, match="'cifar10' is made for cifar10; table1-mnist takes mnist, "):
        reproduce_table1(tiny, out, preset="cifar10", seeds=1, changes={}, watch=quiet())
    with pytest.raises(UsageError, match=r"Unknown preset 'minst'\. Did you mean 'mnist'"):
        reproduce_table1(tiny, out, preset="minst", seeds=1, changes={}, watch=quiet())


def test_a_figure_above_the_training_images_row_is_warned_of(
    tiny: Target, tmp_path: Path, reproduce: Reproduce, quiet: Any
) -> None:
    """Pixels are independent here, so that samples near the mean beat the training images."""
    result = reproduce(tiny, tmp_path / "out", seeds=1)
    real = result["baselines"]["training images"]["estimate"]["log_likelihood"]
    assert (result["highest"] > real) == any("pass the" in sentence for sentence in result["warnings"])
    assert result["highest"] > real


def test_the_target_trains_the_preset_itself() -> None:
    assert TABLE1_MNIST.config("mnist", {}).replace(epochs=100) == resolve("mnist", "mnist", {})
