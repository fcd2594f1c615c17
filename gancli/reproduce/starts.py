"""More starts than runs: every seed is trained for a few epochs, and validation examples alone choose who goes on."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from gancli.config import RESUMABLE
from gancli.errors import DivergedError, GancliError, UsageError
from gancli.reproduce.kept import Kept
from gancli.reproduce.runs import PlannedRun, finish_run, train, training_seconds
from gancli.reproduce.timing import Speed, announce, forecast, in_words, tell_done
from gancli.reproduce.watch import Watch
from gancli.train.generate import versions
from gancli.train.run_folder import RunFolder

STARTS_FILE = "starts.json"
START_EPOCHS = 8


class Starts:
    """The starts of a reproduction and the choice among them; both are read from the runs' folders whenever asked for.

    Args:
        plans: a run for each seed, in their order.
        go_on: how many of them are chosen.
        epochs: after how many epochs of each.
        out: keeps starts.json, with the starts that diverged.

    Raises:
        UsageError: no validation falls into these epochs, or nothing would be left to train after them.
    """

    def __init__(self, plans: Sequence[PlannedRun], *, go_on: int, epochs: int, out: Path) -> None:
        self.plans, self.go_on, self.epochs, self.out = plans, go_on, epochs, out
        self._said: list[PlannedRun] = []  # the choice that was told last
        first = plans[0]
        self._steps = epochs * first.per_epoch
        if self._steps >= first.total:
            raise UsageError(
                f"--start-epochs must be less than the {first.total / first.per_epoch:g} epochs of a run; got {epochs}."
            )
        every = first.config.validation_every
        if not 0 < every <= epochs:
            raise UsageError(
                f"Starts are chosen by validation within their first {epochs} epochs, but --validation-every {every} "
                f"leaves none there; {f'raise --start-epochs to {every}' if every else 'validate more often'}."
            )

    def announce(self, watch: Watch) -> Speed | None:
        """Say what there is and how long starts and runs will take here; returns what was measured, if anything."""
        if all(self._is_through(plan) for plan in self.plans):
            return announce(self._chosen(), self.out, watch)
        tell_done(self.plans, watch)
        left = sum(not self._is_through(plan) for plan in self.plans)
        what = f"{left} start{'' if left == 1 else 's'} of {_in_epochs(self.epochs)}, and {self.go_on} to the end"
        return forecast(self.plans[0].config, self._seconds_left, what, self.out, watch)

    def run(self, watch: Watch) -> list[PlannedRun]:
        """Train every start that is not through yet, then choose.

        Returns:
            The runs that go on, in the order of seeds.

        Raises:
            Stopped: a signal came first; everything is saved.
            GancliError: too many starts diverged, or as `train_run`.
        """
        for plan in self.plans:
            self._require_enough()
            if not self._is_through(plan):
                self._begin(plan, watch)
                watch.say(self._one_line(plan))
        chosen = self._chosen()
        if chosen != self._said:
            watch.say(f"chosen by validation: {seeds_in_words([plan.config.seed for plan in chosen])}")
            self._said = chosen
        return chosen

    def finish(self, watch: Watch) -> Iterator[tuple[PlannedRun, dict[str, Any]]]:
        """Train the chosen ones to their ends; where one diverges on the way, the next best start takes its place.

        Yields:
            Each run that goes to its end, with its final figures.

        Raises:
            Stopped: a signal came first; everything is saved.
            GancliError: too many diverged, or as `train_run`.
        """
        finished: set[int] = set()
        while left := [plan for plan in self.run(watch) if plan.config.seed not in finished]:
            plan = left[0]
            try:
                with self._told(plan):
                    summary = finish_run(plan, watch.reporter())
            except DivergedError:
                watch.say(self._one_line(plan))
                continue
            finished.add(plan.config.seed)
            yield plan, summary

    def as_dict(self) -> dict[str, Any]:
        """Return what result.json tells of the starts, as plain values."""
        chosen = [plan.config.seed for plan in self._chosen()]
        rows = [self._row(plan, plan.config.seed in chosen) for plan in self.plans]
        return {
            "epochs": self.epochs,
            "chosen": chosen,
            "seeds": rows,
            "dropped_seconds": math.fsum(row["training_seconds"] for row in rows if not row["went_on"]),
        }

    def _begin(self, plan: PlannedRun, watch: Watch) -> None:
        with suppress(DivergedError), self._told(plan):
            train(plan, watch.reporter(), until=self.epochs)

    @contextmanager
    def _told(self, plan: PlannedRun) -> Iterator[None]:
        """Keep where a run diverges, if it does."""
        try:
            yield
        except DivergedError as error:
            where = error.where
            self._kept.get(_name(plan), _identity(plan), lambda: {"where": where})
            raise

    def _chosen(self) -> list[PlannedRun]:
        """Return the runs that go on: the highest validation figures of those that did not diverge."""
        self._require_enough()
        standing = [plan for plan in self.plans if self._diverged(plan) is None]
        best = sorted(standing, key=lambda plan: (-self._figure(plan), plan.config.seed))[: self.go_on]
        return sorted(best, key=lambda plan: plan.config.seed)

    def _figure(self, plan: PlannedRun) -> float:
        row = best_row(plan.run, self.epochs)
        return -math.inf if row is None else float(row["validation_log_likelihood"])

    def _require_enough(self) -> None:
        lost = [plan.config.seed for plan in self.plans if self._diverged(plan) is not None]
        left = len(self.plans) - len(lost)
        if left < self.go_on:
            raise GancliError(
                f"{len(lost)} of {len(self.plans)} starts diverged ({seeds_in_words(lost)}), so that {self.go_on} can "
                "no longer be chosen; ask for more --starts, or train with another --preset."
            )

    @property
    def _kept(self) -> Kept:
        return Kept(self.out / STARTS_FILE)

    def _diverged(self, plan: PlannedRun) -> str | None:
        """Return where a start diverged, or None if it did not as far as it has come."""
        known = self._kept.find(_name(plan), _identity(plan))
        return None if known is None else str(known["where"])

    def _is_through(self, plan: PlannedRun) -> bool:
        """Whether a start has nothing left to do; its last epoch is over once it is in the metrics."""
        return _steps_told(plan.run) >= self._steps or self._diverged(plan) is not None

    def _seconds_left(self, speed: Speed) -> float:
        """Return how long starts and the chosen runs take; while the choice is open, those that have most left."""
        standing = [plan for plan in self.plans if self._diverged(plan) is None]
        first = [speed.seconds_for(max(0, self._steps - plan.done), plan.per_epoch) for plan in standing]
        begun = [dataclasses.replace(plan, done=max(plan.done, self._steps)) for plan in standing]
        return sum(first) + sum(sorted(map(speed.seconds_left, begun))[-self.go_on :])

    def _row(self, plan: PlannedRun, went_on: bool) -> dict[str, Any]:
        best = best_row(plan.run, self.epochs)
        return {
            "seed": plan.config.seed,
            "run": str(plan.run.path),
            "validation_log_likelihood": None if best is None else best["validation_log_likelihood"],
            "epoch": None if best is None else best["epoch"],
            "diverged": self._diverged(plan),
            "went_on": went_on,
            "training_seconds": training_seconds(plan.run, None if self._diverged(plan) else self.epochs),
        }

    def _one_line(self, plan: PlannedRun) -> str:
        where, row = self._diverged(plan), best_row(plan.run, self.epochs)
        if where is not None:
            return f"start {plan.config.seed} is lost: it diverged {where}"
        figure = "no validation" if row is None else f"{row['validation_log_likelihood']:,.2f} nats on validation"
        return f"start {plan.config.seed}: {figure} within {_in_epochs(self.epochs)}"


def best_row(run: RunFolder, epochs: int) -> dict[str, Any] | None:
    """Return the row of metrics with the highest validation log-likelihood within a run's first epochs, or None."""
    rows = [row for row in run.read_metrics() if row["epoch"] <= epochs]
    validated = [row for row in rows if row.get("validation_log_likelihood") is not None]
    return max(validated, key=lambda row: float(row["validation_log_likelihood"]), default=None)


def starts_in_words(starts: Mapping[str, Any]) -> str:
    """Return two sentences on the choice and its cost, from result.json's "starts"."""
    return (
        f"{len(starts['seeds'])} starts of {_in_epochs(starts['epochs'])} each; {seeds_in_words(starts['chosen'])} had "
        "the highest validation log-likelihood within these epochs and went on. Training the others took "
        f"{in_words(starts['dropped_seconds'])}."
    )


def chosen_from(result: Mapping[str, Any]) -> str:
    """Return ", chosen from 8 starts" for behind the number of seeds of a result, "" where there was no choice."""
    return f", chosen from {len(result['starts']['seeds'])} starts" if "starts" in result else ""


def fate(row: Mapping[str, Any]) -> str:
    """Return what became of a start, from its row in result.json."""
    if row["diverged"] is not None:
        return f"diverged {row['diverged']}"
    return "went on" if row["went_on"] else "dropped"


def seeds_in_words(seeds: Sequence[int]) -> str:
    """Return "seed 4" or "seeds 1, 4, 6"."""
    return f"seed{'' if len(seeds) == 1 else 's'} {', '.join(map(str, seeds))}"


def _in_epochs(number: int) -> str:
    return f"{number} epoch{'' if number == 1 else 's'}"


def _steps_told(run: RunFolder) -> int:
    """Return the iterations that a run's metrics tell of."""
    rows = run.read_metrics()
    return int(rows[-1]["step"]) if rows else 0


def _name(plan: PlannedRun) -> str:
    return f"seed-{plan.config.seed}"


def _identity(plan: PlannedRun) -> dict[str, Any]:
    """Return what decides that a start diverges: what is learned, how it is computed, and where the run stands."""
    config = plan.config.as_dict()
    learned = {name: value for name, value in config.items() if name not in RESUMABLE or name in ("device", "backend")}
    return {"config": learned, "versions": versions(), "steps": _steps_told(plan.run)}
