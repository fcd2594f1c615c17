"""The maxout convolution: a convolution, the maximum over the pieces of each channel, then over each pooling window."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from gancli.errors import InputError
from gancli.ops import checks, maxout_pool


def maxout_conv2d(
    x: Tensor, weight: Tensor, bias: Tensor, *, pieces: int, pad: int, pool: int, stride: int, backend: str = "auto"
) -> Tensor:
    """Apply a maxout convolution.

    y[b, c, window] = max over positions of the window and pieces j of (x ∗ weight[c·pieces + j] + bias[c·pieces + j])

    Windows that reach over the lower or right edge count. On a GPU cuDNN convolves and one kernel does the rest, so
    that biases, pieces and windows are gone through once and the winners alone are kept; on the CPU torch serves,
    whatever the backend.

    Args:
        x: (batch, in, height, width) float.
        weight: (channels · pieces, in, kernel, kernel) float; a channel's pieces are neighbours.
        bias: (channels · pieces,) float.
        pieces: of a channel.
        pad: zeros at each side of x.
        pool: side of a pooling window.
        stride: from window to window.
        backend: "auto", "torch" or "native".

    Returns:
        y (batch, channels, pooled height, pooled width); differentiable in x, weight and bias.

    Raises:
        InputError: a shape or a device is off.
        UsageError: the backend is unknown, or "native" cannot serve these inputs on a GPU.

    Source: cifar10_convolutional.yaml, MaxoutConvC01B.
    """
    _check(x, weight, bias, pieces)
    if x.is_cuda and maxout_pool.serves(x, bias, pieces=pieces, pool=pool, backend=backend):
        z = F.conv2d(x, weight, padding=pad)
        return maxout_pool.maxout_pool(z, bias, pieces=pieces, pool=pool, stride=stride)
    return maxout_conv2d_reference(x, weight, bias, pieces=pieces, pad=pad, pool=pool, stride=stride)


def maxout_conv2d_reference(
    x: Tensor, weight: Tensor, bias: Tensor, *, pieces: int, pad: int, pool: int, stride: int, backend: str = "torch"
) -> Tensor:
    """Compute y with torch's convolution and its two maxima."""
    del backend
    z = F.conv2d(x, weight, bias, padding=pad)
    y = z.unflatten(1, (-1, pieces)).max(dim=2).values
    return F.max_pool2d(y, pool, stride, ceil_mode=True)


def _check(x: Tensor, weight: Tensor, bias: Tensor, pieces: int) -> None:
    checks.require_shape("x", x, ("batch", "in", "height", "width"))
    checks.require_shape("weight", weight, ("channels · pieces", "in", "kernel", "kernel"))
    checks.require_shape("bias", bias, ("channels · pieces",))
    if x.shape[1] != weight.shape[1]:
        raise InputError(f"x has {x.shape[1]} channels, weight (channels · pieces, in, …) expects {weight.shape[1]}.")
    if len(weight) % pieces or len(bias) != len(weight):
        raise InputError(f"weight and bias must have a multiple of {pieces} rows, got {len(weight)} and {len(bias)}.")
    checks.require_one_device(x=x, weight=weight, bias=bias)
