"""A reproduction small enough to be made, killed and made again in seconds."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gancli.reproduce.targets import TABLE1_MNIST, Target

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
