"""The maxout convolution: a convolution, the maximum over the pieces of each channel, then over each pooling window."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from gancli.errors import InputError
from gancli.ops import checks, maxout_pool, native
from gancli.ops.gradients import needed, room_for_gradient
from gancli.ops.maxout_pool import MOST_CANDIDATES, windows
from gancli.ops.precision import at_least_float32

# Behind pieces and windows at most this share of the convolution's result has a gradient; with more of it, or with few
# positions to read large weights for, torch's dense products are faster (benchmarks/RESULTS.md).
_MOST_WINNERS = 1 / 3
_FEW_POSITIONS, _LARGE_WEIGHT = 25, 2**19
# Places in a padded image are kept in 32 bits.
_TOO_LARGE = 2**31


def maxout_conv2d(
    x: Tensor, weight: Tensor, bias: Tensor, *, pieces: int, pad: int, pool: int, stride: int, backend: str = "auto"
) -> Tensor:
    """Apply a maxout convolution.

    y[b, c, window] = max over positions of the window and pieces j of (x ∗ weight[c·pieces + j] + bias[c·pieces + j])

    Windows that reach over the lower or right edge count. Of several candidates that tie, the gradient goes to the
    first position, row by row, and there to the lowest piece. On a GPU cuDNN convolves and one kernel does the rest, so
    that biases, pieces and windows are gone through once and the winners alone are kept. On the CPU the native path
    does all of it in one pass, and backward goes through the winners alone; "auto" leaves to torch what that does not
    pay for, by a rule that knows the shapes alone.

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
        y (batch, channels, pooled height, pooled width); differentiable in x, weight and bias (once, on the native path
        of the CPU).

    Raises:
        InputError: a shape or a device is off.
        UsageError: the backend is unknown, or "native" cannot serve these inputs.

    Source: cifar10_convolutional.yaml, MaxoutConvC01B.
    """
    _check(x, weight, bias, pieces)
    settings = (pieces, pad, pool, stride)
    if x.is_cuda:
        if maxout_pool.serves(x, bias, pieces=pieces, pool=pool, backend=backend):
            z = F.conv2d(x, weight, padding=pad)
            return maxout_pool.maxout_pool(z, bias, pieces=pieces, pool=pool, stride=stride)
    elif x.device.type == "cpu" and _serves_on_cpu(x, weight, bias, *settings, backend):
        y: Tensor
        if native.plain(x, weight, bias):
            y = _MaxoutConv.apply(x, weight, bias, *settings)  # type: ignore[no-untyped-call]
        else:
            y, _ = _maxout_conv(x, weight, bias, *settings)
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


# ---- the native path of the CPU: csrc/cpu/maxout_conv.cpp and maxout_conv_backward.cpp ----


def _serves_on_cpu(
    x: Tensor, weight: Tensor, bias: Tensor, pieces: int, pad: int, pool: int, stride: int, backend: str
) -> bool:
    """Say whether the native path is to compute the layer; what it cannot, torch computes or refuses.

    Raises:
        UsageError: the backend is unknown, or "native" was asked for and it cannot.
    """
    supported = x.dtype == weight.dtype == bias.dtype == torch.float32
    supported = supported and not torch.is_autocast_enabled(x.device.type) and not native.transformed()
    supported = supported and pieces * pool**2 <= MOST_CANDIDATES
    why_not = (
        f"it computes in float32 outside autocast and torch.func, with at most {MOST_CANDIDATES} pieces and positions "
        "in a window, square kernels, windows within the convolution and images below 8 GiB; x is "
        f"{x.dtype}, weight {weight.dtype}"
    )
    fits = weight.shape[2] == weight.shape[3] and min(pad, stride - 1, pool - 1) >= 0
    if fits:
        sizes = _shape(x, weight, pieces, pad, pool, stride)
        fits = all(size > 0 for name, size in sizes.items() if name != "pad")
        fits = fits and x.shape[1] * (x.shape[2] + 2 * pad) * (x.shape[3] + 2 * pad) < _TOO_LARGE
    if not native.chosen(backend, "maxout_conv_forward", x.device.type, native.settled(supported and fits), why_not):
        return False
    return _pays(weight, **sizes) or native.requested_backend(backend) == "native"


def _pays(weight: Tensor, **sizes: int) -> bool:
    """Say whether a layer of these sizes is faster on the native path than in torch."""
    side = 2 * sizes["pad"] - sizes["kernel"] + 1
    positions = (sizes["height"] + side) * (sizes["width"] + side)
    winners = sizes["pooled_height"] * sizes["pooled_width"] / (positions * sizes["pieces"])
    few = positions < _FEW_POSITIONS and weight.numel() > _LARGE_WEIGHT
    return winners <= _MOST_WINNERS and not few


def _shape(x: Tensor, weight: Tensor, pieces: int, pad: int, pool: int, stride: int) -> dict[str, int]:
    """Return ConvShape of csrc/cpu/maxout_conv.h."""
    (batch, inputs, height, width), kernel = x.shape, weight.shape[2]
    return {
        "batch": batch,
        "in": inputs,
        "height": height,
        "width": width,
        "channels": len(weight) // pieces,
        "pieces": pieces,
        "pool": pool,
        "kernel": kernel,
        "pad": pad,
        "stride": stride,
        "pooled_height": windows(height + 2 * pad - kernel + 1, pool, stride),
        "pooled_width": windows(width + 2 * pad - kernel + 1, pool, stride),
    }


def _forward(
    x: Tensor, weight: Tensor, bias: Tensor, pieces: int, pad: int, pool: int, stride: int
) -> tuple[Tensor, Tensor]:
    """Return y and index, uint8: the lowest position · pieces + piece of its window that reaches it."""
    x, weight, bias = x.contiguous(), weight.contiguous(), bias.contiguous()
    y, index = _empty_result(x, weight, pieces, pad, pool, stride)
    module = native.require("_cpu", "gancli::maxout_conv2d")
    module.maxout_conv_forward(
        x=x.data_ptr(),
        weight=weight.data_ptr(),
        bias=bias.data_ptr(),
        shape=_shape(x, weight, pieces, pad, pool, stride),
        y=y.data_ptr(),
        index=index.data_ptr(),
        threads=torch.get_num_threads(),
        isa=native.cpu_isa(module),
    )
    return y, index


def _empty_result(x: Tensor, weight: Tensor, pieces: int, pad: int, pool: int, stride: int) -> tuple[Tensor, Tensor]:
    shape = _shape(x, weight, pieces, pad, pool, stride)
    y = x.new_empty([shape[side] for side in ("batch", "channels", "pooled_height", "pooled_width")])
    return y, torch.empty_like(y, dtype=torch.uint8)


def _backward(
    v_y: Tensor,
    index: Tensor,
    x: Tensor,
    weight: Tensor,
    needs: list[bool],
    pieces: int,
    pad: int,
    pool: int,
    stride: int,
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Return the gradients v_x, v_weight, v_bias of the cotangent v_y; None where not needed."""
    v_y, index, x, weight = v_y.contiguous(), index.contiguous(), x.contiguous(), weight.contiguous()
    v_x = torch.empty_like(x) if needs[0] else None
    v_weight = room_for_gradient(weight) if needs[1] else None
    v_bias = x.new_empty(len(weight)) if needs[2] else None
    module = native.require("_cpu", "gancli::maxout_conv2d_backward")
    module.maxout_conv_backward(
        v_y=v_y.data_ptr(),
        index=index.data_ptr(),
        x=x.data_ptr(),
        weight=weight.data_ptr(),
        shape=_shape(x, weight, pieces, pad, pool, stride),
        v_x=native.address(v_x),
        v_weight=native.address(v_weight),
        v_bias=native.address(v_bias),
        threads=torch.get_num_threads(),
        isa=native.cpu_isa(module),
    )
    return v_x, v_weight, v_bias


class _MaxoutConv(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, pieces: int, pad: int, pool: int, stride: int
    ) -> Tensor:
        y, index = _forward(x, weight, bias, pieces, pad, pool, stride)
        ctx.save_for_backward(x, weight, bias, index)
        ctx.settings = (pieces, pad, pool, stride)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, v_y: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, index = ctx.saved_tensors
        gradients = _backward(v_y, index, x, weight, needed(ctx, (x, weight, bias)), *ctx.settings)
        return (*gradients, None, None, None, None)


# ---- the same as operators that torch knows, for torch.compile and export ----


@torch.library.custom_op(
    "gancli::maxout_conv2d",
    mutates_args=(),
    schema="(Tensor x, Tensor weight, Tensor bias, int pieces, int pad, int pool, int stride)"
    " -> (Tensor y, Tensor index)",
    device_types="cpu",
)
def _maxout_conv(
    x: Tensor, weight: Tensor, bias: Tensor, pieces: int, pad: int, pool: int, stride: int
) -> tuple[Tensor, Tensor]:
    _check(x, weight, bias, pieces)
    checks.require_float32("gancli::maxout_conv2d", x=x, weight=weight, bias=bias)
    return _forward(x, weight, bias, pieces, pad, pool, stride)


@torch.library.custom_op(
    "gancli::maxout_conv2d_backward",
    mutates_args=(),
    schema="(Tensor v_y, Tensor index, Tensor x, Tensor weight, bool[] needs, int pieces, int pad, int pool,"
    " int stride) -> Tensor[]",
    device_types="cpu",
)
def _maxout_conv_backward(
    v_y: Tensor,
    index: Tensor,
    x: Tensor,
    weight: Tensor,
    needs: list[bool],
    pieces: int,
    pad: int,
    pool: int,
    stride: int,
) -> list[Tensor]:
    """Return v_x, v_weight, v_bias, less those that are not needed."""
    checks.require_float32("gancli::maxout_conv2d_backward", v_y=v_y, x=x, weight=weight)
    checks.require_alike(v_y=v_y, index=index)
    gradients = _backward(v_y, index, x, weight, needs, pieces, pad, pool, stride)
    return [gradient for gradient in gradients if gradient is not None]


@_maxout_conv.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor, pieces: int, pad: int, pool: int, stride: int) -> tuple[Tensor, Tensor]:
    return _empty_result(x, weight, pieces, pad, pool, stride)


@_maxout_conv_backward.register_fake
def _(
    v_y: Tensor,
    index: Tensor,
    x: Tensor,
    weight: Tensor,
    needs: list[bool],
    pieces: int,
    pad: int,
    pool: int,
    stride: int,
) -> list[Tensor]:
    gradients = (x.new_empty(x.shape), weight.new_empty(weight.shape), weight.new_empty(weight.shape[0]))
    return [gradient for gradient, need in zip(gradients, needs, strict=True) if need]


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, weight, _, *ctx.settings = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(x, weight, output[1])


def _differentiate(ctx: Any, v_y: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    x, weight, index = ctx.saved_tensors
    needs = list(ctx.needs_input_grad[:3])
    found = iter(_maxout_conv_backward(v_y, index, x, weight, needs, *ctx.settings))
    return (*(next(found) if need else None for need in needs), None, None, None, None)


_maxout_conv.register_autograd(_differentiate, setup_context=_save)


def _in_float32(x: Tensor, weight: Tensor, bias: Tensor, *settings: int) -> tuple[Tensor, Tensor]:
    """Compute under autocast what an exported graph computes without it: halves have no kernel here."""
    with torch.autocast("cpu", enabled=False):
        wide = map(at_least_float32, (x, weight, bias))
        return torch.ops.gancli.maxout_conv2d(*wide, *settings)  # type: ignore[no-any-return]


_AUTOCAST = torch.library.Library("gancli", "FRAGMENT")
_AUTOCAST.impl("maxout_conv2d", _in_float32, "AutocastCPU")
