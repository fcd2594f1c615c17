"""A run is a folder that explains itself: configuration, metrics, checkpoints, pictures, samples, summary."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from gancli.config import Config
from gancli.data.registry import short_name
from gancli.data.untrusted import open_file
from gancli.errors import DataError, GancliError, UsageError
from gancli.files import atomic_write_text, not_written

RUNS = Path("runs")
_MAX_CONFIG = 1 << 20  # bytes; a configuration has two thousand
_MAX_LINE = 1 << 20  # bytes of a row of metrics


@dataclass(frozen=True)
class RunFolder:
    """The files of one run and where they lie."""

    path: Path

    @property
    def config_file(self) -> Path:
        """The configuration, as JSON."""
        return self.path / "config.json"

    @property
    def metrics_file(self) -> Path:
        """One JSON object per epoch."""
        return self.path / "metrics.jsonl"

    @property
    def last(self) -> Path:
        """The newest checkpoint, from which a run resumes."""
        return self.path / "checkpoints" / "last.pt"

    @property
    def previous(self) -> Path:
        """The checkpoint before the newest, in case that is damaged."""
        return self.path / "checkpoints" / "previous.pt"

    @property
    def best(self) -> Path:
        """The checkpoint with the highest validation Parzen log-likelihood."""
        return self.path / "checkpoints" / "best.pt"

    @property
    def samples_file(self) -> Path:
        """The final samples."""
        return self.path / "samples.pt"

    @property
    def summary_file(self) -> Path:
        """The final figures, as JSON."""
        return self.path / "summary.json"

    def has_checkpoint(self) -> bool:
        """Whether there is a checkpoint to go on from."""
        return self.last.exists() or self.previous.exists()

    @property
    def chosen(self) -> Path:
        """The checkpoint that samples come from: the best by validation, or where none was kept the last."""
        return self.best if self.best.exists() else self.last

    def picture(self, epoch: int) -> Path:
        """The sample grid of an epoch, always from the same z."""
        return self.path / "samples" / f"epoch-{epoch:04d}.png"

    def write_config(self, config: Config) -> None:
        """Make the folder, if there is none yet, and write its configuration."""
        atomic_write_text(self.config_file, config.to_json())

    def config(self) -> Config:
        """Read the configuration.

        Raises:
            GancliError: config.json is missing or damaged.
        """
        if not self.config_file.exists():
            raise GancliError(f"{self.path} is not a run folder: it has no config.json.")
        with open_file(self.config_file) as (file, size):
            if size > _MAX_CONFIG:
                raise DataError(
                    f"{self.config_file} is refused: it has {size:,} bytes, expected at most {_MAX_CONFIG:,}."
                )
            try:
                values = json.loads(file.read(_MAX_CONFIG))
            except (ValueError, RecursionError) as error:
                raise DataError(f"{self.config_file} cannot be read: {error}.") from None
        if not isinstance(values, dict):
            raise GancliError(f"{self.config_file} must hold a JSON object, got a {type(values).__name__}.")
        return Config.from_dict(values)

    def read_metrics(self) -> list[dict[str, Any]]:
        """Return the rows of metrics.jsonl; what follows a line cut short by a crash is left out."""
        if not self.metrics_file.exists():
            return []
        rows = []
        with open_file(self.metrics_file) as (file, _):
            for line in file:
                row = _row(line)
                if row is None:
                    break
                rows.append(row)
        return rows

    def final_summary(self) -> dict[str, Any] | None:
        """Return summary.json; None where there is none or the run has gone on since it and samples.pt were written."""
        try:
            with open_file(self.summary_file) as (file, _):
                summary = json.loads(file.read(_MAX_CONFIG))
            rows = self.read_metrics()
            return summary if not rows or summary["steps"] >= rows[-1]["step"] else None
        except (OSError, GancliError, ValueError, KeyError, TypeError, RecursionError):
            return None

    def keep_metrics_until(self, step: int) -> None:
        """Drop the rows after iteration `step`, which a resumed run will write again."""
        rows = [row for row in self.read_metrics() if row["step"] <= step]
        atomic_write_text(self.metrics_file, "".join(json.dumps(row) + "\n" for row in rows))

    def append_metrics(self, row: dict[str, Any]) -> None:
        """Add one epoch's row and see it to the disk."""
        try:
            with self.metrics_file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise not_written(self.metrics_file, error) from error


def _row(line: bytes) -> dict[str, Any] | None:
    """Return a row of metrics.jsonl, or None for a line that is none."""
    try:
        row = json.loads(line) if len(line) <= _MAX_LINE else None
    except (ValueError, RecursionError):
        return None
    step = row.get("step") if isinstance(row, dict) else None
    return row if isinstance(step, int) and not isinstance(step, bool) else None


def new_run(config: Config, out: Path | None) -> RunFolder:
    """Choose the folder of a new run; nothing is written yet.

    Args:
        config: what is going to be trained.
        out: the folder, or None for runs/<dataset>-<preset>-<date-time>.

    Raises:
        UsageError: `out` already holds a run.
    """
    if out is None:
        stem = f"{short_name(config.dataset)}-{config.preset}-{datetime.now():%Y%m%d-%H%M%S}"
        out, number = RUNS / stem, 2
        while out.exists():
            out, number = RUNS / f"{stem}-{number}", number + 1
    run = RunFolder(out)
    if run.config_file.exists():
        raise UsageError(f"{out} already holds a run; continue it with --resume {out}, or choose another --out.")
    return run


def restarted_run(
    config: Config, out: Path | None, *, restarts: int, max_restarts: int, any_batch_size: bool = False
) -> RunFolder | None:
    """Find the run that torchrun's last attempt began, when it starts the same command again after a failure.

    torchrun does not say who made a folder: a run of the same settings that lay there before is gone on with as well.

    Args:
        config: what is to be trained.
        out: the folder that was asked for.
        restarts: how many times the job has been started again.
        max_restarts: how many times it may be.
        any_batch_size: whether the minibatch goes with the number of ranks, of which there may be others by now.

    Returns:
        The run in `out`, or None where this attempt has to begin it.

    Raises:
        UsageError: no folder was asked for, so that another attempt could not find it.
    """
    if max_restarts and out is None:
        raise UsageError("torchrun may start this job again (--max-restarts); name its folder with --out RUN.")
    if not restarts or out is None or not RunFolder(out).config_file.exists():
        return None
    begun = RunFolder(out).config()
    wanted = config if config.pretrained is None else config.replace(generator=begun.generator)
    if any_batch_size:
        wanted = wanted.replace(batch_size=begun.batch_size)
    return RunFolder(out) if begun == wanted else None


def open_run(path: Path | None) -> RunFolder:
    """Open a run, the newest under runs/ where none is named.

    Raises:
        GancliError: there is no such run, or no run at all.
    """
    if path is not None:
        if not path.is_dir():
            raise GancliError(f"There is no run folder {path}.{_known_runs()}")
        run = RunFolder(path)
        run.config()
        return run
    runs = [RunFolder(file.parent) for file in RUNS.glob("*/config.json")]
    if not runs:
        raise GancliError("There is no run under runs/ yet; train one with: gancli train")
    return max(runs, key=lambda run: run.config_file.stat().st_mtime)


def _known_runs() -> str:
    names = sorted(str(file.parent) for file in RUNS.glob("*/config.json"))
    return f" Runs here: {', '.join(names[-3:])}." if names else " Train one with: gancli train"
