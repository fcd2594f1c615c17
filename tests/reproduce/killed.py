"""A reproduction whose process kills itself without notice where it is told to; run as a script by killed_at."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from conftest import Quiet

import gancli.reproduce.context as context
import gancli.train.trainer as trainer
from gancli.reproduce.table1 import reproduce_table1
from gancli.reproduce.targets import TABLE1_MNIST
from gancli.train.run_folder import RunFolder


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_at_baselines() -> None:
    """While the context is computed."""
    scored: list[int] = []
    score = context.parzen_score

    def counted(*arguments: Any, **more: Any) -> Any:
        if len(scored) == 2:
            die()
        scored.append(1)
        return score(*arguments, **more)

    context.parzen_score = counted


def die_at_checkpoint(run: str) -> None:
    """Between best.pt and last.pt of the second epoch's end."""
    save = trainer.save_checkpoint

    def saved(path: Path, content: dict[str, Any], **more: Any) -> None:
        if (path.parts[-3], path.name, content["step"]) == (run, "last.pt", 10):
            die()
        save(path, content, **more)

    trainer.save_checkpoint = saved


def die_at_row(run: str) -> None:
    """Between last.pt of the second epoch's end and its row of metrics."""
    append = RunFolder.append_metrics

    def appended(self: RunFolder, row: dict[str, Any]) -> None:
        if (self.path.name, row["step"]) == (run, 10):
            die()
        append(self, row)

    RunFolder.append_metrics = appended  # type: ignore[method-assign]


PLACES = {"baselines": die_at_baselines, "checkpoint": die_at_checkpoint, "row": die_at_row}

if __name__ == "__main__":
    place, dataset, out, settings, asked = sys.argv[1:]
    name, *which = place.split()
    PLACES[name](*which)  # type: ignore[operator]
    target = dataclasses.replace(TABLE1_MNIST, dataset=dataset, epochs={}, settings=json.loads(settings))
    reproduce_table1(target, Path(out), preset="mnist", changes={}, watch=Quiet(), **json.loads(asked))
