"""The prior of z."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from gancli.errors import UsageError


def draw_noise(kind: str, num: int, dim: int, rng: torch.Generator) -> Tensor:
    """Draw z from the noise prior.

    Args:
        kind: "uniform" on [−√3, √3] (unit variance), "gaussian" N(0, I), or "spherical": gaussian, scaled to norm 1.
        num: how many.
        dim: dimensions of z.
        rng: the source of randomness; z is drawn on its device.

    Returns:
        (num, dim) float32.

    Raises:
        UsageError: `kind` is none of these.

    Source: Generator.get_noise of the released code.
    """
    z = torch.empty(num, dim, device=rng.device)
    if kind == "uniform":
        return z.uniform_(-math.sqrt(3), math.sqrt(3), generator=rng)
    z.normal_(generator=rng)
    if kind == "gaussian":
        return z
    if kind == "spherical":
        return F.normalize(z, eps=1e-7)
    raise UsageError(f"--noise must be uniform, gaussian or spherical, got {kind!r}.")
