"""--tensorboard writes events where the package is installed, and says how to get it where it is not."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from gancli.cli import main
from gancli.cli.tensorboard import WithTensorBoard
from gancli.errors import UsageError, WriteError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # tensorboard's own
needs_tensorboard = pytest.mark.skipif(
    importlib.util.find_spec("tensorboard") is None, reason="tensorboard is not installed"
)
ROW = {"epoch": 1, "step": 5, "loss_d": 0.5, "validation_log_likelihood": 12.0, "warnings": ["none"]}


class Display:
    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def epoch(self, row: dict[str, Any]) -> None:
        self.rows.append(row)


@needs_tensorboard
def test_each_epoch_becomes_events_that_tensorboard_reads() -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    display = Display()
    both = WithTensorBoard(display, Path("run"))  # type: ignore[arg-type]
    second = {**ROW, "epoch": 2, "loss_d": 0.25}
    both.epoch(ROW)
    both.epoch(second)
    read = EventAccumulator("run/tensorboard").Reload()
    assert set(read.Tags()["scalars"]) == {"loss_d", "validation_log_likelihood"}
    assert [(event.step, event.value) for event in read.Scalars("loss_d")] == [(1, 0.5), (2, 0.25)]
    assert display.rows == [ROW, second]


@needs_tensorboard
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no disk that is always full")
def test_a_full_disk_is_named() -> None:
    both = WithTensorBoard(Display(), Path("run"))  # type: ignore[arg-type]
    both._file.parent.mkdir(parents=True)
    both._file.symlink_to("/dev/full")
    with pytest.raises(WriteError, match=r"cannot write run/tensorboard/events.*is full; free some space"):
        both.epoch(ROW)


@needs_tensorboard
def test_events_that_cannot_be_written_stop_the_run_which_then_goes_on() -> None:
    np.save("small.npy", np.random.default_rng(0).integers(0, 256, (125, 1, 6, 6), dtype=np.uint8))
    settings = ["--generator=dense 8 relu, dense out sigmoid", "--noise-dim=5", "--batch-size=20", "--num-samples=50"]
    obstacle = Path("run/tensorboard")
    obstacle.parent.mkdir()
    obstacle.write_text("a file where the folder of the events is to be")
    command = ["train", "--tensorboard", "--dataset", "./small.npy", "--epochs=2", *settings, "--out", "run"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 1
    (sentence,) = (line for line in result.stderr.splitlines() if line.startswith("Error: "))
    assert "cannot write run/tensorboard/events" in sentence
    assert sentence.endswith("Once that is mended, go on with: gancli train --resume run")
    obstacle.unlink()
    result = CliRunner().invoke(main, ["train", "--tensorboard", "--resume", "run"])
    assert result.exit_code == 0, result.stderr
    assert list(obstacle.glob("events.*"))


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard.summary.writer.record_writer", None)
    with pytest.raises(UsageError, match=r"gancli\[tensorboard\]"):
        WithTensorBoard(Display(), Path("run"))  # type: ignore[arg-type]
