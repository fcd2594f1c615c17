"""What comes behind a maxout layer's product on a GPU: biases, the maximum over pieces, and over pooling windows."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gancli.ops import native

# A window's winner is kept in a byte (csrc/cuda/maxout_pool.h).
MOST_CANDIDATES = 256


def product_dtype(x: Tensor) -> torch.dtype:
    """Return in what torch multiplies x here: autocast's dtype or x's own."""
    autocast = torch.is_autocast_enabled("cuda") and x.dtype != torch.float64
    return torch.get_autocast_dtype("cuda") if autocast else x.dtype


def serves(x: Tensor, bias: Tensor, *, pieces: int, pool: int, backend: str) -> bool:
    """Say whether `maxout_pool` is to take the product of x, on a GPU.

    Raises:
        UsageError: the backend is unknown, or "native" was asked for and it cannot.
    """
    supported = product_dtype(x) in (torch.float32, torch.bfloat16) and bias.dtype == torch.float32
    supported = supported and pieces * pool**2 <= MOST_CANDIDATES
    why_not = f"it takes float32 or bfloat16, and at most {MOST_CANDIDATES} pieces and positions in a window"
    return bool(native.chosen(backend, "maxout_pool_forward", "cuda", native.settled(supported), why_not))


def maxout_pool(z: Tensor, bias: Tensor, *, pieces: int, pool: int, stride: int) -> Tensor:
    """Take the maximum over windows and pieces.

    y[b, c, window] = max over positions of the window and pieces j of z[b, c·pieces + j, position] + bias[c·pieces + j]

    Args:
        z: (batch, channels · pieces, height, width), float32 or bfloat16 on a GPU.
        bias: (channels · pieces,) float32.
        pieces: of a channel.
        pool: side of a window; those that reach over the lower or right edge count.
        stride: from window to window.

    Returns:
        y (batch, channels, pooled height, pooled width), dtype of z; differentiable in z and bias. Of several that
        tie, the gradient goes to the first position and there to the lowest piece.
    """
    y: Tensor
    y, _ = _pool(z, bias, pieces, pool, stride)
    return y


def windows(side: int, pool: int, stride: int) -> int:
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
        "pooled_height": windows(height, pool, stride),
        "pooled_width": windows(width, pool, stride),
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
                bfloat16=z.dtype == torch.bfloat16,
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
                bfloat16=v_y.dtype == torch.bfloat16,
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
    v_bias = v_z.sum(dim=(0, 2, 3), dtype=torch.float32) if ctx.needs_input_grad[1] else None
    return v_z, v_bias, None, None, None


_pool.register_autograd(_differentiate, setup_context=_save)
