"""A reproduction small enough to be made, killed and made again in seconds."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gancli
from gancli.reproduce.table1 import reproduce_table1
from gancli.reproduce.targets import TABLE1_MNIST, Target
from gancli.reproduce.timing import Speed

CURVE = 1500
TINY = {
    "generator": "dense 8 relu, dense out sigmoid bias=marginal",
    "discriminator": "maxout 6x2 irange=0.05, dense 1 sigmoid irange=0.05",
    "noise_dim": 5,
    "batch_size": 20,
    "epochs": 3,
    "num_samples": 60,
}


class Quiet:
    """Watches a reproduction and keeps what it was told; as a reporter it may ask for a stop, as Ctrl-C does."""

    def __init__(self, on_iteration: Callable[[Path, int], None] = lambda run, step: None) -> None:
        self.sentences: list[str] = []
        self.trained: list[str] = []
        self.counted: list[int] = []
        self._on_iteration = on_iteration

    def say(self, sentence: str) -> None:
        self.sentences.append(sentence)

    def reporter(self) -> Any:
        return self

    @contextlib.contextmanager
    def counting(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        yield self.counted.append

    def start(self, run: Path, *_: Any, **__: Any) -> None:
        self._run = run
        self.trained.append(run.name)

    def iteration(self, step: int) -> None:
        self._on_iteration(self._run, step)

    def means(self, values: dict[str, float]) -> None: ...
    def epoch(self, row: dict[str, Any]) -> None: ...
    def note(self, text: str) -> None: ...
    def finish(self) -> None: ...


@pytest.fixture
def quiet() -> type[Quiet]:
    return Quiet


@pytest.fixture
def tiny(tmp_path: Path) -> Target:
    """Table 1's MNIST row on 125 images of 6×6 pixels: 100 to train on in five minibatches."""
    path = tmp_path / "small.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (125, 1, 6, 6), dtype=np.uint8))
    return dataclasses.replace(TABLE1_MNIST, dataset=str(path), epochs={}, settings=TINY)


@pytest.fixture
def untimed(monkeypatch: pytest.MonkeyPatch) -> None:
    """An iteration takes a minute, what follows an epoch ten, a score a hundred."""
    speed = Speed(step=60.0, epoch_end=600.0, score=6000.0)
    monkeypatch.setattr("gancli.reproduce.timing.measure_speed", lambda *_: speed)


@pytest.fixture
def reproduce() -> Callable[..., dict[str, Any]]:
    """`reproduce(target, out, seeds=2, starts=…, start_epochs=…, watch=…, epochs=…)`."""

    def call(
        target: Target,
        out: Path,
        *,
        seeds: int = 2,
        starts: int | None = None,
        start_epochs: int | None = None,
        watch: Any = None,
        **changes: Any,
    ) -> dict[str, Any]:
        return reproduce_table1(
            target,
            out,
            preset="mnist",
            seeds=seeds,
            starts=starts,
            start_epochs=start_epochs or (2 if starts and starts > seeds else None),
            changes=changes,
            curve_samples=CURVE,
            watch=watch or Quiet(),
        )

    return call


@pytest.fixture
def lasting() -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Leaves out of a result what time and place decide."""
    passing = ("seconds", "training_seconds", "dropped_seconds", "run")

    def clean(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: clean(v) for k, v in value.items() if k not in passing}
        return [clean(v) for v in value] if isinstance(value, list) else value

    return lambda result: clean({k: v for k, v in result.items() if k not in ("machine", "versions")})


@pytest.fixture
def killed_at() -> Callable[..., None]:
    """`killed_at(place, target, out, seeds=…)` reproduces in a process that kills itself at a place of killed.py."""

    def call(place: str, target: Target, out: Path, **asked: Any) -> None:
        words = json.dumps({"seeds": 2, "curve_samples": CURVE, **asked})
        program = [sys.executable, str(Path(__file__).with_name("killed.py"))]
        ended = subprocess.run(
            [*program, place, target.dataset, str(out), json.dumps(target.settings), words],
            env={**os.environ, "PYTHONPATH": str(Path(gancli.__file__).parents[1])},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == -signal.SIGKILL, f"{place}: {ended.stderr}"

    return call
