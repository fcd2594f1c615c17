"""What a training tells while it goes on, and what it leaves in the end."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from gancli.config import Config


class Reporter(Protocol):
    """What watches a training run; the command line's progress display is one."""

    def start(self, run: Path, config: Config, *, step: int, total: int, per_epoch: int, device: str) -> None:
        """Training begins at iteration `step` of the `total` that are to be done by its end."""

    def iteration(self, step: int) -> None:
        """Iteration number `step` is done."""

    def means(self, values: dict[str, float]) -> None:
        """Take the running means of this epoch."""

    def epoch(self, row: dict[str, Any]) -> None:
        """Take the row of metrics.jsonl of an epoch that ended."""

    def note(self, text: str) -> None:
        """Tell what is being done between epochs."""

    def finish(self) -> None:
        """Training ended or failed; the display comes down."""


@dataclass(frozen=True)
class Summary:
    """What a finished or interrupted training leaves.

    Attributes:
        run: the run folder.
        steps: iterations done since the run began.
        epochs: whole epochs done.
        seconds: wall time of training in this process.
        steps_per_second: iterations of this process per second of training, validation and pictures excluded.
        checkpoint: the file that the final samples come from; where there are none yet, the one to resume from.
        samples: the final samples, or None when interrupted or paused before the last epoch.
        parzen: their test score, or None.
        interrupted: whether a signal ended it.
        signal: the number of that signal, or None.
    """

    run: str
    steps: int
    epochs: int
    seconds: float
    steps_per_second: float
    checkpoint: str
    samples: str | None
    parzen: dict[str, Any] | None
    interrupted: bool = False
    signal: int | None = None
