"""Training metrics as TensorBoard events, for those who watch many runs at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gancli.cli.progress import TrainingProgress
from gancli.errors import UsageError


class WithTensorBoard:
    """Passes everything on to a progress display and writes each epoch's numbers as scalars."""

    def __init__(self, display: TrainingProgress, run: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise UsageError("--tensorboard needs the package tensorboard: pip install 'gancli[tensorboard]'") from None
        self._display, self._writer_class, self._run = display, SummaryWriter, run
        self._writer: Any = None

    def epoch(self, row: dict[str, Any]) -> None:
        """Write one row of metrics.jsonl."""
        # Opened late, since opening makes the run folder.
        self._writer = self._writer or self._writer_class(str(self._run / "tensorboard"))
        for name, value in row.items():
            if name not in ("epoch", "step") and isinstance(value, (int, float)):
                self._writer.add_scalar(name, value, row["epoch"])
        self._display.epoch(row)

    def finish(self) -> None:
        """Close the events file."""
        if self._writer is not None:
            self._writer.close()
        self._display.finish()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._display, name)
