"""How long a training will take on this machine, from a few iterations of it."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gancli.config import Config
from gancli.errors import Stopped
from gancli.reproduce.runs import PlannedRun
from gancli.reproduce.watch import Watch
from gancli.train.run_folder import RunFolder
from gancli.train.trainer import train_run

STEPS, WARM_UP = 24, 4  # the first iterations touch memory and settle the processor's clock


@dataclass(frozen=True)
class Speed:
    """What a configuration costs here.

    Attributes:
        step: seconds per iteration.
        epoch_end: seconds of validation, picture and checkpoint after each epoch.
        score: seconds of drawing the final samples and scoring them.
    """

    step: float
    epoch_end: float
    score: float

    def seconds_left(self, plan: PlannedRun) -> float:
        """Return how long what is left of a run takes, its final score included."""
        if plan.summary is not None:
            return 0.0
        return self.seconds_for(plan.total - plan.done, plan.per_epoch) + self.score

    def seconds_for(self, steps: int, per_epoch: int) -> float:
        """Return how long so many iterations take, with what follows each epoch."""
        return steps * self.step + -(-steps // per_epoch) * self.epoch_end


class _Stopwatch:
    """Watches a training and notes when its parts ended."""

    def __init__(self) -> None:
        self.steps: list[float] = []
        self.marks: dict[str, float] = {}

    def start(self, run: Path, config: Config, *, step: int, total: int, per_epoch: int, device: str) -> None:
        pass

    def iteration(self, step: int) -> None:
        self.steps.append(time.perf_counter())

    def means(self, values: dict[str, float]) -> None:
        pass

    def epoch(self, row: dict[str, Any]) -> None:
        self.marks["epoch"] = time.perf_counter()

    def note(self, text: str) -> None:
        pass

    def finish(self) -> None:
        self.marks["finish"] = time.perf_counter()


def measure_speed(config: Config, scratch: Path) -> Speed:
    """Train a few iterations in a folder that is then removed, validate once, score once.

    Args:
        config: what is going to be trained.
        scratch: the folder; whatever lies there is removed.

    Raises:
        Stopped: a signal came meanwhile.
    """
    shutil.rmtree(scratch, ignore_errors=True)
    watch = _Stopwatch()
    try:
        # The last iteration ends the epoch early, so that everything an epoch's end costs is seen.
        summary = train_run(config.replace(steps=STEPS, epochs=STEPS), RunFolder(scratch), watch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if summary.signal is not None:
        raise Stopped(summary.signal)
    first, last = watch.steps[min(WARM_UP, len(watch.steps)) - 1], watch.steps[-1]
    return Speed(
        step=(last - first) / max(1, len(watch.steps) - WARM_UP),
        epoch_end=watch.marks["epoch"] - last,
        score=watch.marks["finish"] - watch.marks["epoch"],
    )


def in_words(seconds: float) -> str:
    """Return "40 s", "12 min" or "5 h 20 min"."""
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def announce(plans: Sequence[PlannedRun], out: Path, watch: Watch) -> Speed | None:
    """Say what there is of some runs and how long the rest of them will take here.

    Args:
        plans: runs of one configuration, one after another.
        out: where a few iterations may be tried.
        watch: takes the sentences.

    Returns:
        What was measured; None where every run is finished and nothing was.
    """
    tell_done(plans, watch)
    unfinished = [plan for plan in plans if plan.summary is None]
    if not unfinished:
        return None
    runs = "one run" if len(unfinished) == 1 else f"{len(unfinished)} runs"
    return forecast(
        unfinished[0].config, lambda speed: sum(speed.seconds_left(plan) for plan in unfinished), runs, out, watch
    )


def tell_done(plans: Sequence[PlannedRun], watch: Watch) -> None:
    """Say what there is of each run."""
    for plan in plans:
        if plan.done:
            left = "finished" if plan.summary is not None else f"{plan.done:,} of {plan.total:,} iterations are done"
            watch.say(f"{plan.run.path}: {left}")


def forecast(config: Config, seconds: Callable[[Speed], float], what: str, out: Path, watch: Watch) -> Speed:
    """Measure what a configuration costs here and say how long the work will take.

    Args:
        config: what is trained.
        seconds: returns how long the work takes at a speed.
        what: the work in words, e.g. "3 runs".
        out: where a few iterations may be tried.
        watch: takes the sentences.
    """
    watch.say(f"timing {config.preset} on this machine")
    speed = measure_speed(config, out / f".timing-{os.getpid()}")  # two commands may have one folder
    watch.say(
        f"{1 / speed.step:,.2g} iterations of {config.batch_size} examples a second: about "
        f"{in_words(seconds(speed))} for {what}. Ctrl-C saves; the same command goes on."
    )
    return speed
