"""What a training run looks like from outside: bars on a terminal, a line per epoch anywhere else."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gancli.cli.console import progress_bars, progress_console
from gancli.config import Config

if TYPE_CHECKING:
    from rich.progress import Progress

_COLUMNS = (
    # metrics.jsonl key, heading, width, format
    ("epoch", "epoch", 5, "d"),
    ("loss_d", "loss D", 7, ".4f"),
    ("loss_g", "loss G", 7, ".4f"),
    ("d_x", "D(x)", 6, ".3f"),
    ("d_gz", "D(G(z))", 7, ".3f"),
    ("images_per_second", "images/s", 8, ",.0f"),
    ("validation_log_likelihood", "Parzen/nats", 11, ".1f"),
    ("validation_sigma", "σ", 6, ".3f"),
)


class TrainingProgress:
    """Shows training on standard error: two bars with time left on a terminal, and a table that grows by epochs."""

    def __init__(self) -> None:
        self._console = progress_console()
        self._bars: Progress | None = None
        self._last = (0.0, 0)  # time and iteration when images/s was last taken
        self._config = Config()
        self._per_epoch = 1
        self._step = 0
        self._validation = ""

    def start(self, run: Path, config: Config, *, step: int, total: int, per_epoch: int, device: str) -> None:
        """Say what begins, and put up the bars where there is a terminal."""
        self._config, self._per_epoch = config, per_epoch
        verb = f"Resuming at iteration {step:,} of" if step else "Training"
        self._console.print(
            f"{verb} {config.preset} on {config.dataset}, {total:,} iterations of {config.batch_size} examples, on "
            f"{device}; run folder {run}",
            markup=False,  # a path may hold what rich takes for a style
            soft_wrap=True,
        )
        self._console.print(" ".join(f"{heading:>{width}}" for _, heading, width, _ in _COLUMNS), style="dim")
        self._last = (time.perf_counter(), step)
        if not self._console.is_terminal:
            return
        self._bars = progress_bars(self._console)
        self._whole = self._bars.add_task("all", total=total, completed=step, beside="")
        self._part = self._bars.add_task(
            f"epoch {step // per_epoch + 1}", total=per_epoch, completed=step % per_epoch, beside=""
        )
        self._bars.start()

    def iteration(self, step: int) -> None:
        """Move the bars on."""
        self._step = step
        if self._bars:
            self._bars.update(self._whole, completed=step)
            self._bars.update(self._part, completed=(step - 1) % self._per_epoch + 1)

    def means(self, values: dict[str, float]) -> None:
        """Show the running means of the epoch."""
        if self._bars:
            text = "D {loss_d:.3f}  G {loss_g:.3f}  D(x) {d_x:.2f}  D(G(z)) {d_gz:.2f}".format(**values)
            self._bars.update(self._part, beside=text)
            speed = f"{self._images_per_second(self._step):,.0f} images/s"
            self._bars.update(self._whole, beside=f"{speed}  {self._validation}".rstrip())

    def epoch(self, row: dict[str, Any]) -> None:
        """Print the epoch's line."""
        cells = {**row, "images_per_second": self._images_per_second(row["step"])}
        self._last = (time.perf_counter(), row["step"])
        line = " ".join(
            f"{cells[key]:>{width}{form}}" if cells.get(key) is not None else f"{'·':>{width}}"
            for key, _, width, form in _COLUMNS
        )
        self._console.print(line)
        for warning in row.get("warnings", ()):
            self._console.print(f"Warning: {warning}", style="yellow", markup=False, soft_wrap=True)
        if self._bars:
            if row.get("validation_log_likelihood") is not None:
                self._validation = f"Parzen {row['validation_log_likelihood']:.1f} nats"
            self._bars.reset(self._part, total=self._per_epoch, beside="", description=f"epoch {row['epoch'] + 1}")

    def _images_per_second(self, step: int) -> float:
        """Return training examples per second since the last epoch ended, validation and pictures included."""
        then, before = self._last
        return (step - before) * self._config.batch_size / max(time.perf_counter() - then, 1e-9)

    def note(self, text: str) -> None:
        """Say beside the bar what goes on between epochs."""
        if self._bars:
            self._bars.update(self._part, beside=text)

    def finish(self) -> None:
        """Take the bars down."""
        if self._bars:
            self._bars.stop()
            self._bars = None
