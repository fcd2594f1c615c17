"""Data sets: one module per source, all behind one registry.

    from gancli.data import load
    digits = load("digits", seed=0)   # digits.train: uint8 (50000, 1, 28, 28)

Importing this loads no torch; the names below are fetched when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gancli.data.dataset import Dataset as Dataset
    from gancli.data.dataset import Fold as Fold
    from gancli.data.preprocess import Preprocessing as Preprocessing
    from gancli.data.preprocess import make_preprocessing as make_preprocessing
    from gancli.data.registry import SOURCES as SOURCES
    from gancli.data.registry import load as load
    from gancli.data.samples import SamplesFile as SamplesFile
    from gancli.data.samples import read_samples as read_samples
    from gancli.data.samples import write_samples as write_samples

_HOME = {
    "Dataset": "dataset",
    "Fold": "dataset",
    "Preprocessing": "preprocess",
    "SOURCES": "registry",
    "SamplesFile": "samples",
    "load": "registry",
    "make_preprocessing": "preprocess",
    "read_samples": "samples",
    "write_samples": "samples",
}

__all__ = [
    "SOURCES",
    "Dataset",
    "Fold",
    "Preprocessing",
    "SamplesFile",
    "load",
    "make_preprocessing",
    "read_samples",
    "write_samples",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"gancli.data.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
