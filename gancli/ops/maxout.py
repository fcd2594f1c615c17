"""The maxout layer: a linear map to units × pieces, then the maximum over the pieces of each unit."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from gancli.errors import InputError
from gancli.ops import checks, native


def maxout(x: Tensor, weight: Tensor, bias: Tensor, *, backend: str = "auto") -> Tensor:
    """Apply a maxout layer.

    y[b, u] = max_j (x[b]·weight[u, j] + bias[u, j]); where pieces tie, the gradient goes to the lowest j.

    Args:
        x: (batch, in) float.
        weight: (units, pieces, in) float.
        bias: (units, pieces) float.
        backend: "auto", "torch" or "native".

    Returns:
        y (batch, units), dtype of x; differentiable in x, weight and bias.

    Raises:
        InputError: a shape or dtype is off.
        UsageError: the backend is unknown, or "native" cannot serve these inputs.

    Source: Goodfellow et al. 2013, "Maxout Networks", equation 1.
    """
    _check(x, weight, bias)
    module = native.choose(
        backend,
        operation="maxout_forward",
        device_type=x.device.type,
        supported=x.dtype == weight.dtype == bias.dtype == torch.float32,
        why_not=f"it computes in float32, the inputs are {x.dtype}, {weight.dtype} and {bias.dtype}",
    )
    if module is None:
        return _linear_then_max(x, weight, bias)
    raise InputError("the native module is not wired in")


def maxout_reference(x: Tensor, weight: Tensor, bias: Tensor, *, backend: str = "torch") -> Tensor:
    """Compute y as its formula stands, one piece after another."""
    del backend
    y = x @ weight[:, 0].T + bias[:, 0]
    for piece in range(1, weight.shape[1]):
        z = x @ weight[:, piece].T + bias[:, piece]
        y = torch.where(z > y, z, y)  # strictly greater: the lowest piece keeps a tie
    return y


def _check(x: Tensor, weight: Tensor, bias: Tensor) -> None:
    checks.require_shape("x", x, ("batch", "in"))
    checks.require_shape("weight", weight, ("units", "pieces", "in"))
    checks.require_shape("bias", bias, ("units", "pieces"))
    for name, tensor in (("x", x), ("weight", weight), ("bias", bias)):
        checks.require_floating(name, tensor)
    if weight.shape[1] == 0:
        raise InputError("weight must have at least one piece, got shape " + str(tuple(weight.shape)) + ".")
    if x.shape[1] != weight.shape[2]:
        raise InputError(f"x has {x.shape[1]} inputs, weight (units, pieces, in) expects {weight.shape[2]}.")
    if bias.shape != weight.shape[:2]:
        raise InputError(f"bias must have shape {tuple(weight.shape[:2])}, got {tuple(bias.shape)}.")


def _linear_then_max(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The torch path: one matrix product for all pieces, then max, whose index of the first maximum settles ties."""
    units, pieces, _ = weight.shape
    z = F.linear(x, weight.flatten(0, 1), bias.flatten()).view(-1, units, pieces)
    return z.max(dim=2).values
