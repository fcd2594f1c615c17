"""What ends a run from outside: signals, a folder that goes away, too little memory."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from harness import RESUME, TRAIN, Zygote, fingerprint, timeless, without_times

from gancli.cli import main
from gancli.data.torchfile import digest, read_torch_file
from gancli.errors import Stopped
from gancli.train.interrupt import StopRequest
from gancli.train.run_folder import RunFolder

SIGNALS = {"SIGTERM": 143, "SIGHUP": 129, "SIGINT": 130}
MOMENTS = {12: "within an epoch", 15: "at an epoch's end", 30: "at the very end"}
QUICK = [("SIGTERM", 12), ("SIGHUP", 15), ("SIGINT", 30)]  # each signal and each moment once; the rest is slow


@pytest.mark.parametrize(
    ("name", "code", "iteration"),
    [
        pytest.param(
            name,
            code,
            iteration,
            id=f"{name} {moment}",
            marks=() if (name, iteration) in QUICK else pytest.mark.slow,
        )
        for name, code in SIGNALS.items()
        for iteration, moment in MOMENTS.items()
    ],
)
def test_a_signal_saves_the_run_and_gives_its_exit_code(
    zygote: Zygote, place: Path, unbroken: dict[str, Any], name: str, code: int, iteration: int
) -> None:
    ended = zygote.run(place, TRAIN, at_iteration=iteration, deed=name)
    assert ended.code == code
    assert f"Stopped after iteration {iteration}; everything is saved" in ended.stdout
    assert ended.stdout.rstrip().endswith("gancli train --resume run")
    assert zygote.run(place, RESUME).code == 0
    assert fingerprint(place / "run") == unbroken


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_ends_any_other_command_with_its_exit_code(
    zygote: Zygote, place: Path, monkeypatch: pytest.MonkeyPatch, name: str, code: int
) -> None:
    assert zygote.run(place, [*TRAIN, "--epochs=1"]).code == 0
    monkeypatch.chdir(place)
    monkeypatch.setattr("gancli.train.sampling.draw", lambda *_: signal.raise_signal(getattr(signal, name)))
    ended = CliRunner().invoke(main, ["sample", "--run=run"])
    assert ended.exit_code == code
    assert ended.stderr == f"Error: stopped by {name}\n"
    assert not (place / "out.pt").exists()


def test_a_signal_while_the_end_is_scored_says_how_to_go_on(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    with monkeypatch.context() as patched:
        patched.setattr("gancli.train.trainer.write_samples", lambda *_: signal.raise_signal(signal.SIGTERM))
        ended = CliRunner().invoke(main, TRAIN)
    assert ended.exit_code == 143
    hint, error = ended.stderr.splitlines()[-2:]
    assert hint == "Go on from the last checkpoint with: gancli train --resume run"
    assert error == "Error: stopped by SIGTERM"
    again = CliRunner().invoke(main, RESUME)
    assert again.exit_code == 0
    assert (place / "run" / "summary.json").exists()


def ask_twice() -> None:
    with StopRequest() as stop:
        signal.raise_signal(signal.SIGTERM)
        assert stop.signal == signal.SIGTERM
        signal.raise_signal(signal.SIGHUP)


def test_a_second_signal_insists_and_handlers_come_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Stopped) as caught:
        ask_twice()
    assert caught.value.signal == signal.SIGHUP
    assert signal.getsignal(signal.SIGTERM) == before


def test_an_ignored_signal_stays_ignored() -> None:
    """As under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopRequest() as stop:
            signal.raise_signal(signal.SIGHUP)
            assert not stop.requested
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("deed", ["rename", "remove"])
def test_a_run_folder_that_goes_away_is_said_and_the_state_saved(
    zygote: Zygote, place: Path, unbroken: dict[str, Any], deed: str
) -> None:
    ended = zygote.run(place, TRAIN, at_iteration=12, deed=deed)
    assert ended.code == 1
    assert "run was moved or removed while the run trained in it" in ended.sentence
    assert "iteration 15 is saved" in ended.sentence
    if deed == "rename":
        assert (place / "elsewhere" / "checkpoints" / "last.pt").exists()
    assert zygote.run(place, RESUME).code == 0
    run = RunFolder(place / "run")
    last, rows = without_times(read_torch_file(run.last)), run.read_metrics()
    validated = {row["step"]: row["validation_log_likelihood"] for row in rows}
    assert last["best"] == validated[read_torch_file(run.best)["step"]]  # of those since: the best before went away
    last["best"] = max(row["validation_log_likelihood"] for row in unbroken["metrics"])
    assert digest(last) == unbroken["last"]
    assert [timeless(row) for row in rows] == unbroken["metrics"][2:]


def test_a_folder_that_cannot_come_back_is_said(zygote: Zygote, place: Path) -> None:
    ended = zygote.run(place, [*TRAIN[:-1], "--out=deep/run"], at_iteration=12, deed="block")
    assert ended.code == 1
    assert "deep is a file, not a folder" in ended.sentence or "a part of the path" in ended.sentence


def test_too_little_memory_is_a_sentence_with_what_to_lower(zygote: Zygote, place: Path) -> None:
    wide = "--generator=dense 4000000 relu, dense 4000000 relu, dense out sigmoid"
    ended = zygote.run(place, [*TRAIN, wide])
    assert ended.code == 1
    for words in ("too little memory", "--batch-size (20)", "--num-samples (50)", "--generator"):
        assert words in ended.sentence
    assert not (place / "run").exists()


def test_too_little_memory_outside_training_is_a_sentence(zygote: Zygote, place: Path) -> None:
    shutil.rmtree(place / "run", ignore_errors=True)
    assert zygote.run(place, [*TRAIN, "--epochs=1"]).code == 0
    ended = zygote.run(place, ["sample", "--run=run", "--num=100000000"], more_memory=256 << 20)
    assert ended.code == 1
    assert "too little memory" in ended.sentence
    assert not (place / "out.pt").exists()
