"""Numerical trouble that really happens: it is noticed, named and explained, and a healthy run hears nothing of it."""

from __future__ import annotations

import io
import math
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from gancli.cli.progress import TrainingProgress
from gancli.config import Config
from gancli.errors import GancliError
from gancli.presets import resolve
from gancli.train.checkpoints import load_checkpoint
from gancli.train.health import _move
from gancli.train.run_folder import RunFolder
from gancli.train.trainer import Trainer, train_run
from gancli.train.trouble import all_finite


class Silent:
    """Watches without a word; `deed` is called after each iteration."""

    def __init__(self, deed: Callable[[int], None] = lambda step: None) -> None:
        self.iteration = deed

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None


def config(tmp_path: Path, **changes: Any) -> Config:
    path = tmp_path / "small.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (125, 1, 4, 4), dtype=np.uint8))
    settings = {
        "generator": "dense 8 relu, dense out sigmoid bias=marginal",
        "discriminator": "maxout 6x2 irange=0.05, dense 1 sigmoid irange=0.05",
        "noise_dim": 5,
        "batch_size": 20,
        "epochs": 4,
        "num_samples": 50,
        "validation_every": 0,
    }
    return resolve("mnist", str(path), {**settings, **changes})


def rows(settings: Config, path: Path) -> list[dict[str, Any]]:
    train_run(settings, RunFolder(path), Silent())
    return RunFolder(path).read_metrics()


DIVERGING: dict[str, tuple[dict[str, Any], str]] = {
    "a rate beyond all": ({"lr": 1e30}, r"iteration 2: the output of layer 2 of D \(dense 1 sigmoid irange=0.05\)"),
    "unbounded": (
        {
            "lr": 50.0,
            "momentum": 0.9,
            "generator": "dense 8 relu irange=2, dense out linear irange=2",
            "discriminator": "maxout 6x2 irange=2, dense 1 sigmoid irange=2",
        },
        r"iteration \d+: the (output|gradient for the weight) of layer",
    ),
    "Adam": ({"optimizer": "adam", "lr": 1e30}, r"iteration \d+: the .* of layer"),
}


@pytest.mark.parametrize("name", DIVERGING)
def test_divergence_names_step_network_layer_and_what_to_try(tmp_path: Path, name: str) -> None:
    changes, words = DIVERGING[name]
    with pytest.raises(GancliError, match=words) as caught:
        rows(config(tmp_path, **changes), tmp_path / "run")
    sentence = str(caught.value)
    for part in ("Training diverged at iteration", f"--lr (it was {changes['lr']:g})", "--max-gradient-norm 10"):
        assert part in sentence
    assert "No checkpoint had been written yet" in sentence
    assert "\n" not in sentence


@pytest.mark.parametrize("poisoned", ["weight", "optimiser"])
def test_the_last_finite_checkpoint_stays_and_is_named(tmp_path: Path, poisoned: str) -> None:
    """A weight of D, or a velocity of G, becomes NaN at iteration 14, the last but one of the third epoch."""
    run = RunFolder(tmp_path / "run")

    def deed(step: int) -> None:
        if step == 15 and poisoned == "optimiser":
            next(iter(trainer.game.update_G.state.values()))["velocity"][0] = float("inf")
        if step == 14 and poisoned == "weight":
            trainer.game.D.weighted[0].bias.data[0, 0] = float("nan")

    trainer = Trainer(config(tmp_path), run, Silent(deed))
    with pytest.raises(GancliError, match=r"The last good state, of iteration 10, is kept in .*last\.pt") as caught:
        trainer.train()
    assert "diverged before iteration 15" in str(caught.value)  # played again, all went well: the cause was outside
    kept = load_checkpoint(run.last)
    assert kept["step"] == 10
    assert all_finite(kept["G"].values())
    assert len(run.read_metrics()) == 2


def test_a_cause_within_training_is_found_from_the_last_checkpoint(tmp_path: Path) -> None:
    """The data of the third epoch hold a number that overflows D's first layer."""
    values = np.random.default_rng(0).random((125, 1, 4, 4), dtype=np.float32)
    values[17] = 3e38
    np.save(tmp_path / "spiked.npy", values)
    settings = config(tmp_path, dataset=str(tmp_path / "spiked.npy"), generator="dense 8 relu, dense out linear")
    with pytest.raises(GancliError, match=r"diverged at iteration \d+: the .* of layer 1 of D \(maxout 6x2"):
        rows(settings, tmp_path / "run")


@pytest.mark.parametrize("end", ["signal", "data gone"])
def test_the_search_for_a_cause_ends_early_and_hides_nothing(tmp_path: Path, end: str) -> None:
    settings = config(tmp_path)

    class Searching(Silent):
        def note(self, text: str) -> None:
            if text.startswith("training diverged"):
                diverged.append(trainer.step)
                if end == "signal":
                    signal.raise_signal(signal.SIGTERM)
                else:
                    Path(settings.dataset).unlink()

    def deed(step: int) -> None:
        if step == 14:
            trainer.game.D.weighted[0].bias.data[0, 0] = float("nan")

    diverged: list[int] = []
    trainer = Trainer(settings, RunFolder(tmp_path / "run"), Searching(deed))
    replayed = []
    with pytest.MonkeyPatch.context() as patched:
        iterate = Trainer._iterate

        def counted(self: Trainer, epoch: int) -> Any:
            replayed.extend([self.step] if diverged else [])
            return iterate(self, epoch)

        patched.setattr(Trainer, "_iterate", counted)
        with pytest.raises(GancliError, match=r"Training diverged before iteration 15.*of iteration 10, is kept in"):
            trainer.train()
    assert diverged == [15]
    assert replayed == []


def test_finiteness_is_not_confused_by_large_numbers() -> None:
    large = torch.full((1000,), 3e38)  # their sum overflows
    assert all_finite([large, torch.zeros(3)])
    assert not all_finite([large, torch.tensor([float("nan"), 1.0])])
    assert not all_finite([torch.tensor([float("inf"), -float("inf")])])


WINNING = {
    "loss": "minimax",
    "updates": "alternating",
    "k": 5,
    "lr": 0.5,
    "epochs": 15,
    "keep_input": 1.0,
    "keep_hidden": 1.0,
    "generator": "dense 2 relu, dense out sigmoid irange=0.01 bias=-3",
    "discriminator": "maxout 32x3 irange=0.1, dense 1 sigmoid irange=0.1",
}


def test_a_d_that_wins_outright_is_warned_of(tmp_path: Path) -> None:
    last = rows(config(tmp_path, **WINNING), tmp_path / "run")[-1]
    assert (last["d_x"] > 0.99, last["d_gz"] < 0.01) == (True, True)
    (warning,) = (text for text in last["warnings"] if "G's gradient vanishes" in text)
    assert "--loss non-saturating" in warning


def test_a_g_that_collapses_is_warned_of(tmp_path: Path) -> None:
    """From the third epoch on, of five iterations each, G gives one image whatever its noise."""

    def deed(step: int) -> None:
        if step == 12:
            trainer.game.G.weighted[-1].weight.data.zero_()

    varied = "dense 8 relu irange=1, dense out sigmoid irange=1"
    run = RunFolder(tmp_path / "run")
    trainer = Trainer(config(tmp_path, generator=varied, lr=1e-6), run, Silent(deed))
    trainer.train()
    warnings = [" ".join(row.get("warnings", [])) for row in run.read_metrics()]
    assert ["G's samples are nearly all alike" in text for text in warnings] == [False, False, True, True]


def test_a_warning_is_printed_below_its_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    progress, out = TrainingProgress(), io.StringIO()
    progress._console = Console(file=out, width=200)
    progress.epoch({"epoch": 1, "step": 5, "loss_d": 0.1, "warnings": ["[D] wins."]})
    assert out.getvalue().splitlines()[-1] == "Warning: [D] wins."


@pytest.mark.parametrize("preset", ["mnist", pytest.param("gaussian", marks=pytest.mark.slow)])
def test_a_healthy_run_hears_no_warning(tmp_path: Path, preset: str) -> None:
    if preset == "mnist":
        found = rows(config(tmp_path), tmp_path / "run")
    else:
        found = rows(resolve("gaussian", None, {"steps": 1500, "validation_every": 0}), tmp_path / "run")
    assert found
    assert not any("warnings" in row for row in found)


@pytest.mark.parametrize(
    ("activation", "low", "high", "warned"),
    [("sigmoid", 0, 1, False), ("sigmoid", -1, 1, True), ("tanh", -1, 1, False), ("relu", -1, 1, True)],
)
def test_data_out_of_reach_of_the_last_layer_are_told_once(
    tmp_path: Path, activation: str, low: float, high: float, warned: bool
) -> None:
    path = tmp_path / "floats.npy"
    values = np.random.default_rng(0).random((125, 1, 4, 4), dtype=np.float32)
    np.save(path, low + (high - low) * values)
    settings = config(tmp_path, dataset=str(path), generator=f"dense 8 relu, dense out {activation}", lr=1e-4)
    told = ["G ends in a" in " ".join(row.get("warnings", [])) for row in rows(settings, tmp_path / "run")]
    assert told == [warned, False, False, False]


def test_bytes_that_nothing_scales_are_told(tmp_path: Path) -> None:
    settings = config(tmp_path, preprocessing="none", generator="dense 8 relu, dense out linear", lr=1e-6)
    first = rows(settings, tmp_path / "run")[0]
    assert "The networks see pixels from 0 to 255" in " ".join(first["warnings"])


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_the_bound_on_a_move_holds(tmp_path: Path, optimizer: str) -> None:
    """G's loss is linear, with a gradient of 1e-4 everywhere, for 200 steps."""
    settings = config(tmp_path, optimizer=optimizer, lr=0.01, momentum=0.9, momentum_final=0.9, momentum_epochs=1)
    trainer = Trainer(settings, RunFolder(tmp_path / "run"), Silent())
    game, parameters = trainer.game, list(trainer.game.G.parameters())
    for p in parameters:
        p.data.uniform_(-1, 1)
        p.grad = torch.full_like(p, 1e-4)
    before = torch.cat([p.detach().flatten() for p in parameters])
    bound = _move(game, 200)
    for _ in range(200):
        game.update_G.step()
    moved = (torch.cat([p.detach().flatten() for p in parameters]) - before).norm() / before.norm()
    assert 0.9 * bound < float(moved) < bound * (1 + 1e-4)


def test_a_momentum_that_never_fades_has_no_bound(tmp_path: Path) -> None:
    last = rows(config(tmp_path, momentum=1.0, momentum_final=1.0, lr=1e-6), tmp_path / "run")[-1]
    assert last["epoch"] == 4
    trainer = Trainer(config(tmp_path, momentum=1.0), RunFolder(tmp_path / "other"), Silent())
    for p in trainer.game.G.parameters():
        p.grad = torch.zeros_like(p)
    assert _move(trainer.game, 5) == math.inf
