"""--tensorboard writes events where the package is installed, and says how to get it where it is not."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from gancli.cli.tensorboard import WithTensorBoard
from gancli.errors import UsageError


class Display:
    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def epoch(self, row: dict[str, Any]) -> None:
        self.rows.append(row)

    def finish(self) -> None: ...


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is None, reason="tensorboard is not installed")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # tensorboard's own
def test_each_epoch_becomes_events() -> None:
    display = Display()
    both = WithTensorBoard(display, Path("run"))  # type: ignore[arg-type]
    row = {"epoch": 1, "step": 5, "loss_d": 0.5, "validation_log_likelihood": 12.0}
    both.epoch(row)
    both.finish()
    (events,) = Path("run/tensorboard").glob("events.*")
    assert b"loss_d" in events.read_bytes()
    assert display.rows == [row]


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UsageError, match=r"gancli\[tensorboard\]"):
        WithTensorBoard(Display(), Path("run"))  # type: ignore[arg-type]
