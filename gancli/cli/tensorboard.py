"""Training metrics as TensorBoard events, for those who watch many runs at once."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from gancli.cli.progress import TrainingProgress
from gancli.errors import UsageError
from gancli.files import not_written


class WithTensorBoard:
    """Passes everything on to a progress display and writes each epoch's numbers as scalars.

    Torch's SummaryWriter is not used: it writes in a thread of its own, where a full disk ends in a traceback.
    """

    def __init__(self, display: TrainingProgress, run: Path) -> None:
        try:
            from tensorboard.compat.proto.event_pb2 import Event
            from tensorboard.compat.proto.summary_pb2 import Summary
            from tensorboard.summary.writer.record_writer import RecordWriter
        except ImportError:
            raise UsageError("--tensorboard needs the package tensorboard: pip install 'gancli[tensorboard]'") from None
        self._display = display
        self._event, self._summary, self._records = Event, Summary, RecordWriter
        # A file for each process: a run that goes on does not append to what may have been cut short.
        self._file = run / "tensorboard" / f"events.out.tfevents.{time.time():.0f}.{os.getpid()}"

    def epoch(self, row: dict[str, Any]) -> None:
        """Write one row of metrics.jsonl.

        Raises:
            WriteError: the disk is full, or the run folder cannot be written to.
        """
        numbers = {name: value for name, value in row.items() if isinstance(value, (int, float))}
        values = [
            self._summary.Value(tag=name, simple_value=value)
            for name, value in numbers.items()
            if name not in ("epoch", "step")
        ]
        event = self._event(wall_time=time.time(), step=row["epoch"], summary=self._summary(value=values))
        try:
            self._append(event)
        except OSError as error:
            raise not_written(self._file, error) from error
        self._display.epoch(row)

    def _append(self, event: Any) -> None:
        """Add an event to the file, which begins with the version of its format."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("ab") as file:
            records = self._records(file)
            if file.tell() == 0:
                records.write(self._event(wall_time=event.wall_time, file_version="brain.Event:2").SerializeToString())
            records.write(event.SerializeToString())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._display, name)
