"""From raw images to what the networks see, and back again for pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from gancli.data.dataset import Dataset
from gancli.errors import DataError, UsageError

KINDS = ("scale", "gcn", "none")
# Pylearn2's min_divisor: an image whose norm, in units of the scale, is below it is constant, and stays as it is.
_MIN_DIVISOR = 1e-8
_MAX_STATISTICS = 10_000


@dataclass(frozen=True)
class Preprocessing:
    """How a data set is presented to the networks.

    Call it on a raw minibatch (n, channels, height, width), uint8 or float32 on any device; it returns float32 of
    the same shape:
        scale: uint8 x/255 in [0, 1]; floats pass unchanged, and those outside [0, 1] are "none".
        gcn: global contrast normalisation, x' = s·(x − mean(x)) / ‖x − mean(x)‖ with the mean and the norm of each
            image over all its channels and pixels, on the raw values (0..255 for uint8).
        none: the raw values.

    Attributes:
        kind: "scale", "gcn" or "none".
        gcn_scale: s, the L2 norm that gcn gives every image.
        mean: median over the training images of their mean; gcn's `to_display` puts it back.
        norm: median over the training images of ‖x − mean(x)‖; the same.
        low: the raw value shown as black: 0 for uint8, else the least of the training data.
        high: the raw value shown as white: 255 for uint8, else the greatest.

    Source: the paper's released configurations use Pylearn2's /255 and GlobalContrastNormalization(scale=55).
    """

    kind: str
    gcn_scale: float = 55.0
    mean: float = 0.0
    norm: float = 1.0
    low: float = 0.0
    high: float = 255.0

    def __call__(self, raw: Tensor) -> Tensor:
        """(n, channels, height, width) raw -> float32, the same shape and device."""
        x = raw.to(torch.float32)
        if self.kind == "scale":
            return x / 255 if raw.dtype == torch.uint8 else x
        if self.kind == "gcn":
            centred, norm = _centre(x)
            divisor = norm / self.gcn_scale
            return centred / torch.where(divisor < _MIN_DIVISOR, torch.ones_like(divisor), divisor)
        return x

    def to_display(self, x: Tensor) -> Tensor:
        """What the networks see, as pixels.

        Args:
            x: float32 (n, channels, height, width) in the networks' space. uint8 is taken to be pixels already.

        Returns:
            uint8, the same shape, on the same device. For gcn, which forgets each image's brightness and contrast,
            with the training data's median of both.
        """
        if x.dtype == torch.uint8:
            return x
        x = x.to(torch.float32)
        if self.kind == "scale":
            unit = x
        else:
            raw = x * (self.norm / self.gcn_scale) + self.mean if self.kind == "gcn" else x
            unit = (raw - self.low) / (self.high - self.low)
        # nan_to_num: a picture of a run that went wrong should still be drawn, not depend on how NaN casts to a byte.
        return unit.nan_to_num(0.0).clamp(0, 1).mul(255).round().to(torch.uint8)

    def as_dict(self) -> dict[str, float | str]:
        """Plain values, for checkpoints and samples files."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Preprocessing:
        """The inverse of `as_dict`.

        Raises:
            DataError: an entry is missing, of the wrong type, or unknown.
        """
        numbers = ("gcn_scale", "mean", "norm", "low", "high")
        if set(values) != {"kind", *numbers} or values["kind"] not in KINDS:
            raise DataError(
                f"The preprocessing recorded in the file is damaged: expected kind ({', '.join(KINDS)}), "
                f"{', '.join(numbers)}, got {sorted(map(str, values))}; make the file again."
            )
        for key in numbers:
            value = values[key]
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < float("inf"):
                raise DataError(
                    f"The preprocessing recorded in the file is damaged: expected {key} to be a number, got {value!r}; "
                    f"make the file again."
                )
        return cls(kind=values["kind"], **{key: float(values[key]) for key in numbers})


def make_preprocessing(kind: str, dataset: Dataset, *, gcn_scale: float = 55.0) -> Preprocessing:
    """The preprocessing of one data set, with what `to_display` needs measured on its training images.

    Args:
        kind: "scale", "gcn" or "none".
        dataset: only its training images are looked at, at most 10,000 of them, evenly spaced.
        gcn_scale: the L2 norm that gcn gives every image.

    Returns:
        A Preprocessing of plain floats.

    Raises:
        UsageError: an unknown kind, or a scale that is not positive.
    """
    if kind not in KINDS:
        raise UsageError(f"Unknown preprocessing {kind!r}: expected one of {', '.join(KINDS)}.")
    if not 0 < gcn_scale < float("inf"):
        raise UsageError(f"gcn_scale must be a positive number, got {gcn_scale}; the paper's is 55.")
    train = dataset.train[:: -(-len(dataset.train) // _MAX_STATISTICS)]
    low, high = 0.0, 255.0
    if train.dtype != torch.uint8:
        low, high = float(train.min()), float(train.max())
        if high <= low:
            high = low + 1.0
        if kind == "scale" and (low < 0 or high > 1):
            kind = "none"  # which pass unchanged too, and are shown in their own range
    mean, norm = 0.0, 1.0
    if kind == "gcn":
        means, norms = [], []
        for start in range(0, len(train), 1000):  # so that the floats take a few megabytes
            raw = train[start : start + 1000].to(torch.float32)
            means.append(raw.flatten(1).mean(dim=1))
            norms.append(_centre(raw)[1].flatten())
        mean, norm = float(torch.cat(means).median()), float(torch.cat(norms).median())
    return Preprocessing(kind, gcn_scale=float(gcn_scale), mean=mean, norm=norm, low=low, high=high)


def _centre(x: Tensor) -> tuple[Tensor, Tensor]:
    """Take its mean off each image; returns that and its L2 norm, (n, 1, 1, 1).

    The mean is taken off twice: the second time removes what rounding left of it, so that an image of one colour
    becomes zeros exactly and is not blown up to full contrast. (float64 would do it at once, but not every device
    has it.)
    """
    dims = tuple(range(1, x.ndim))
    centred = x - x.mean(dim=dims, keepdim=True)
    centred = centred - centred.mean(dim=dims, keepdim=True)
    return centred, torch.linalg.vector_norm(centred, dim=dims, keepdim=True)
