"""What every source hands on: raw images in the paper's splits."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Fold:
    """One cross-validation fold: σ is chosen on `valid`, the figure is taken on `test`."""

    valid: Tensor  # (n, channels, height, width), dtype as in the Dataset
    test: Tensor  # (n, channels, height, width)


@dataclass(frozen=True)
class Dataset:
    """A data set before preprocessing, split as the paper's configurations split it.

    Images are uint8 in 0..255; values without a fixed range (1-D Gaussian mixtures, float arrays of the user's
    own) are float32 and are taken as they are.

    Attributes:
        name: the registry's name, e.g. "mnist".
        train: (n, channels, height, width), uint8 or float32.
        valid: the same, for choosing σ and the best checkpoint.
        test: the same, for the reported figure.
        folds: TFD's five folds; empty where a data set has one split. `valid` and `test` are those of the fold
            that was asked for.
    """

    name: str
    train: Tensor
    valid: Tensor
    test: Tensor
    folds: tuple[Fold, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one example."""
        channels, height, width = self.train.shape[1:]
        return channels, height, width

    def train_checksum(self) -> int:
        """CRC-32 of the training examples' bytes, by which a run notices that its data were exchanged."""
        return zlib.crc32(self.train.contiguous().cpu().numpy().data)
