"""Runs of a reproduction: ordinary run folders, begun or taken up where they were left."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gancli.config import Config, may_change, option_name
from gancli.errors import GancliError, Stopped, UsageError
from gancli.train.checkpoints import load_newest
from gancli.train.reporting import Reporter
from gancli.train.run_folder import RunFolder
from gancli.train.schedules import iterations_per_epoch, total_iterations
from gancli.train.setup import adopt_pretrained
from gancli.train.trainer import train_run


@dataclass(frozen=True)
class PlannedRun:
    """A run of a reproduction, whether it has begun or not.

    Attributes:
        run: its folder.
        config: what is trained there.
        per_epoch: iterations of an epoch.
        total: iterations it takes in all.
        done: iterations it has behind it.
        summary: the final figures of a finished run; None while there is something left to do.
    """

    run: RunFolder
    config: Config
    per_epoch: int
    total: int
    done: int
    summary: dict[str, Any] | None


def plan_run(path: Path, config: Config, num_train: int) -> PlannedRun:
    """Look at what there is of a run, begun by whichever command, and at what is left to do.

    Args:
        path: the run folder; it need not exist.
        config: what shall have been trained there in the end.
        num_train: training examples, which decide how long an epoch is.

    Raises:
        UsageError: the folder holds a run of other settings, or one that went further than asked for.
        GancliError: what is there cannot be read.
    """
    run, config = RunFolder(path), adopt_pretrained(config)
    if run.config_file.exists():
        _require_same(run, config)
    per_epoch = iterations_per_epoch(num_train, config.batch_size)
    total = total_iterations(config, per_epoch)
    done = int(load_newest(run.last, run.previous)[0]["step"]) if run.has_checkpoint() else 0
    if done > total:
        raise UsageError(
            f"{path} has been trained for {done:,} iterations ({done // per_epoch:,} epochs), more than the {total:,} "
            f"asked for; ask for {-(-done // per_epoch)} epochs or more with --epochs, or choose another --out."
        )
    return PlannedRun(run, config, per_epoch, total, done, _summary(run, config, total) if done == total else None)


def finish_run(plan: PlannedRun, reporter: Reporter) -> dict[str, Any]:
    """Train a run to its end, from wherever it stands, and return its final figures.

    Raises:
        Stopped: a signal came first; everything is saved.
        GancliError: as `train_run`.
    """
    if plan.summary is not None:
        return plan.summary
    train(plan, reporter)
    finished = _summary(plan.run, plan.config, plan.total)
    if finished is None:
        raise GancliError(f"{plan.run.summary_file} does not tell of the training that just ended.")
    return finished


def train(plan: PlannedRun, reporter: Reporter, *, until: int | None = None) -> None:
    """Begin a run or go on with it, to its end or, with nothing scored, to the end of epoch `until`.

    Raises:
        Stopped: a signal came first; everything is saved.
        GancliError: as `train_run`.
    """
    summary = train_run(plan.config, plan.run, reporter, resume=plan.run.config_file.exists(), until=until)
    if summary.signal is not None:
        raise Stopped(summary.signal)


def training_seconds(run: RunFolder, epoch: int | None = None) -> float:
    """Return the seconds of iterations behind a run, or behind its first `epoch` epochs.

    Work lost to a kill is not in them, nor are validation and pictures.
    """
    rows = [row for row in run.read_metrics() if epoch is None or row["epoch"] <= epoch]
    seconds = [float(row["seconds"]) for row in rows]
    # Rows count from the run's beginning; in runs of version 0.1 each process counted from zero.
    ends = [before for before, after in itertools.pairwise(seconds) if after < before]
    return sum(ends) + (seconds[-1] if seconds else 0.0)


def first_epoch_reaching(run: RunFolder, log_likelihood: float) -> int | None:
    """Return the first epoch whose validation log-likelihood is at least that many nats, or None."""
    for row in run.read_metrics():
        if (row.get("validation_log_likelihood") or float("-inf")) >= log_likelihood:
            return int(row["epoch"])
    return None


def _require_same(run: RunFolder, config: Config) -> None:
    """Raise UsageError unless the run that is there learns what `config` says."""
    # A pretrained generator's layers are part of the text of the networks; where it lies may change.
    there, wanted = run.config().as_dict(), config.as_dict()
    for name, value in wanted.items():
        if name != "pretrained" and not may_change(name, there[name], value):
            raise UsageError(
                f"{run.path} was trained with {option_name(name)} {there[name]!r}, this reproduction takes {value!r}; "
                "choose another --out."
            )


def _summary(run: RunFolder, config: Config, total: int) -> dict[str, Any] | None:
    """Return summary.json if it is that of the whole run and of the generator that samples shall come from."""
    if config.samples_from == "last" and run.best.exists():
        return None  # it was the best until now
    if config.average != run.config().average:
        return None  # its samples were made with another
    summary = run.final_summary()
    try:
        finished = (
            summary is not None and summary["steps"] == total and summary["parzen"] and not summary["interrupted"]
        )
    except KeyError:
        return None
    return summary if finished else None
