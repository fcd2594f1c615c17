"""The maxout convolution: a convolution, the maximum over the pieces of each channel, then over each pooling window."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from gancli.errors import InputError
from gancli.ops import checks, native

# A window's winner is kept in a byte (csrc/cuda/maxout_pool.h).
MOST_CANDIDATES = 256


def maxout_conv2d(
    x: Tensor, weight: Tensor, bias: Tensor, *, pieces: int, pad: int, pool: int, stride: int, backend: str = "auto"
) -> Tensor:
    """Apply a maxout convolution.

    y[b, c, window] = max over positions of the window and pieces j of (x ∗ weight[c·pieces + j] + bias[c·pieces + j])

    Windows that reach over the lower or right edge count. On a GPU cuDNN convolves and one kernel does the rest, so
    that biases, pieces and windows are gone through once and the winners alone are kept; on the CPU, and under
    autocast, torch serves whatever the backend.

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
    if x.is_cuda and not torch.is_autocast_enabled("cuda"):
        supported = x.dtype == weight.dtype == bias.dtype == torch.float32 and pieces * pool**2 <= MOST_CANDIDATES
        why_not = f"it computes in float32 with at most {MOST_CANDIDATES} pieces and positions in a window"
        if native.chosen(backend, "maxout_pool_forward", "cuda", supported, why_not):
            y: Tensor
            y, _ = _pool(F.conv2d(x, weight, padding=pad), bias, pieces, pool, stride)
            return y
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


# ---- behind the convolution, on a GPU: csrc/cuda/maxout_pool.cu ----


def _windows(side: int, pool: int, stride: int) -> int:
    """Return how many windows begin within `side` values, to the end, as torch counts them."""
    windows = -(-(side - pool) // stride) + 1
    return windows - 1 if (windows - 1) * stride >= side else windows


def _shape(z_shape: torch.Size, pieces: int, pool: int, stride: int) -> dict[str, int]:
    batch, channels, height, width = z_shape
    return {
        "batch": batch,
        "channels": channels // pieces,
        "height": height,
        "width": width,
        "pooled_height": _windows(height, pool, stride),
        "pooled_width": _windows(width, pool, stride),
        "pieces": pieces,
        "pool": pool,
        "stride": stride,
    }


def _empty_result(z: Tensor, pieces: int, pool: int, stride: int) -> tuple[Tensor, Tensor]:
    shape = _shape(z.shape, pieces, pool, stride)
    y = z.new_empty([shape[side] for side in ("batch", "channels", "pooled_height", "pooled_width")])
    return y, torch.empty_like(y, dtype=torch.uint8)


@torch.library.custom_op(
    "gancli::maxout_pool",
    mutates_args=(),
    schema="(Tensor z, Tensor bias, int pieces, int pool, int stride) -> (Tensor y, Tensor index)",
    device_types="cuda",
)
def _pool(z: Tensor, bias: Tensor, pieces: int, pool: int, stride: int) -> tuple[Tensor, Tensor]:
    """Return y and index, uint8: the lowest position · pieces + piece of its window that reaches it."""
    z, bias = z.contiguous(), bias.contiguous()
    y, index = _empty_result(z, pieces, pool, stride)
    if y.numel():
        with torch.cuda.device(z.device):
            native.require("_cuda", "gancli::maxout_pool").maxout_pool_forward(
                z=z.data_ptr(),
                bias=bias.data_ptr(),
                **_shape(z.shape, pieces, pool, stride),
                y=y.data_ptr(),
                index=index.data_ptr(),
                device=z.device.index,
                stream=torch.cuda.current_stream().cuda_stream,
            )
    return y, index


@torch.library.custom_op(
    "gancli::maxout_pool_backward",
    mutates_args=(),
    schema="(Tensor v_y, Tensor index, int height, int width, int pieces, int pool, int stride) -> Tensor",
    device_types="cuda",
)
def _pool_backward(v_y: Tensor, index: Tensor, height: int, width: int, pieces: int, pool: int, stride: int) -> Tensor:
    """Return v_z (batch, channels · pieces, height, width)."""
    v_y, index = v_y.contiguous(), index.contiguous()
    v_z = v_y.new_empty(len(v_y), v_y.shape[1] * pieces, height, width)
    if v_z.numel():
        with torch.cuda.device(v_y.device):
            native.require("_cuda", "gancli::maxout_pool_backward").maxout_pool_backward(
                v_y=v_y.data_ptr(),
                index=index.data_ptr(),
                **_shape(v_z.shape, pieces, pool, stride),
                v_z=v_z.data_ptr(),
                device=v_y.device.index,
                stream=torch.cuda.current_stream().cuda_stream,
            )
    return v_z


@_pool.register_fake
def _(z: Tensor, bias: Tensor, pieces: int, pool: int, stride: int) -> tuple[Tensor, Tensor]:
    return _empty_result(z, pieces, pool, stride)


@_pool_backward.register_fake
def _(v_y: Tensor, index: Tensor, height: int, width: int, pieces: int, pool: int, stride: int) -> Tensor:
    return v_y.new_empty(v_y.shape[0], v_y.shape[1] * pieces, height, width)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    z, _, *ctx.settings = inputs
    ctx.sides = tuple(z.shape[2:])
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(output[1])


def _differentiate(ctx: Any, v_y: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    (index,) = ctx.saved_tensors
    v_z = _pool_backward(v_y, index, *ctx.sides, *ctx.settings)
    v_bias = v_z.sum(dim=(0, 2, 3)) if ctx.needs_input_grad[1] else None
    return v_z, v_bias, None, None, None


_pool.register_autograd(_differentiate, setup_context=_save)
