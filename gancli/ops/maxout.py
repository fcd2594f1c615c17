"""The maxout layer: a linear map to units × pieces, then the maximum over the pieces of each unit."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from gancli.errors import InputError
from gancli.ops import checks, maxout_cuda, maxout_pool, native
from gancli.ops.gradients import needed, room_for_gradient
from gancli.ops.precision import at_least_float32, tf32_allowed

# The winning piece travels to the backward pass as one byte.
MOST_PIECES = 256


def maxout(x: Tensor, weight: Tensor, bias: Tensor, *, backend: str = "auto") -> Tensor:
    """Apply a maxout layer.

    y[b, u] = max_j (x[b]·weight[u, j] + bias[u, j]); where pieces tie, the gradient goes to the lowest j.

    On a GPU it computes with float32 accuracy, or in TF32 where torch allows that, and under autocast to bfloat16 in
    that; under other autocast in float32.

    Args:
        x: (batch, in) float.
        weight: (units, pieces, in) float.
        bias: (units, pieces) float.
        backend: "auto", "torch" or "native".

    Returns:
        y (batch, units), dtype of x; differentiable in x, weight and bias (once, on the native path).

    Raises:
        InputError: a shape, a dtype or a device is off.
        UsageError: the backend is unknown, or "native" cannot serve these inputs.

    Source: Goodfellow et al. 2013, "Maxout Networks", equation 1.
    """
    _check(x, weight, bias)
    if x.is_cuda and _shortened(x) and maxout_pool.serves(x, bias, pieces=weight.shape[1], pool=1, backend=backend):
        return _product_then_pool(x, weight, bias)
    if torch.is_autocast_enabled(x.device.type):
        with torch.autocast(x.device.type, enabled=False):
            return maxout(*map(at_least_float32, (x, weight, bias)), backend=backend)
    supported = x.dtype == weight.dtype == bias.dtype == torch.float32 and not native.transformed()
    supported = native.settled(supported and weight.shape[1] <= _most_pieces(x))
    why_not = (
        f"it computes in float32 outside torch.func with at most {_most_pieces(x)} pieces, x is {x.dtype}, weight "
        f"{weight.dtype}"
    )
    if not native.chosen(backend, "maxout_forward", x.device.type, supported, why_not):
        return _linear_then_max(x, weight, bias)
    y: Tensor
    if not native.plain(x, weight, bias):
        y, _ = _maxout(x, weight, bias)
        return y
    # The same without the operator's dispatch, which takes longer than a small layer (0.1 ms of a step of 8 ms).
    y = _Maxout.apply(x, weight, bias)  # type: ignore[no-untyped-call]
    return y


def maxout_reference(x: Tensor, weight: Tensor, bias: Tensor, *, backend: str = "torch") -> Tensor:
    """Compute y as its formula stands, one piece after another."""
    del backend
    y = x @ weight[:, 0].T + bias[:, 0]
    for piece in range(1, weight.shape[1]):
        z = x @ weight[:, piece].T + bias[:, piece]
        y = torch.where((z > y) | z.isnan(), z, y)  # strictly greater: the lowest piece keeps a tie
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
    checks.require_one_device(x=x, weight=weight, bias=bias)


def _most_pieces(x: Tensor) -> int:
    return maxout_cuda.MOST_PIECES if x.is_cuda else MOST_PIECES


def _linear_then_max(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The torch path: one matrix product for all pieces, then max, whose index of the first maximum settles ties."""
    units, pieces, _ = weight.shape
    z = F.linear(x, weight.flatten(0, 1), bias.flatten()).view(len(x), units, pieces)
    return z.max(dim=2).values


# ---- where products may be shorter than float32: csrc/cuda/maxout_pool.cu behind torch's product ----
#
# An H100 multiplies TF32 at about 400 TFLOP/s, bfloat16 at 800, split float32 (csrc/cuda/product.h: three products of
# halves) at 250 and plain float32 at 60. At batch 4,096, 3,072 → 1,600 × 5, forward takes 201 GFLOP: 0.5 ms in TF32 and
# 0.1 ms for writing and reading 131 MB of pre-activations, against 0.8 ms without pre-activations in memory. Backward
# over winners alone takes a fifth of the operations, but in plain float32: 80 GFLOP in 1.3 ms at best, against 402
# GFLOP in 1 ms and 0.2 ms for the dense gradient; in bfloat16 half of that. (From peaks; not measured.)


def _shortened(x: Tensor) -> bool:
    """Whether torch would multiply x on this GPU in bfloat16 or in TF32."""
    dtype = maxout_pool.product_dtype(x)
    return dtype == torch.bfloat16 or (dtype == torch.float32 and tf32_allowed())


def _product_then_pool(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    z = F.linear(x, weight.flatten(0, 1))
    y = maxout_pool.maxout_pool(z[..., None, None], bias.flatten(), pieces=weight.shape[1], pool=1, stride=1)
    return y.flatten(1)


# ---- the native path: csrc/cpu/maxout.cpp, or csrc/cuda/maxout.cu and maxout_backward.cu through maxout_cuda.py ----


def _forward(x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Return y (batch, units) and index (batch, units) uint8, the lowest piece that reaches it."""
    checks.require_one_device(x=x, weight=weight, bias=bias)
    x, weight, bias = x.contiguous(), weight.contiguous(), bias.contiguous()
    (batch, inputs), (units, pieces, _) = x.shape, weight.shape
    y = x.new_empty(batch, units)
    index = x.new_empty(batch, units, dtype=torch.uint8)
    if 0 in (batch, units):
        return y, index
    if inputs == 0:  # nothing but biases
        best = bias.max(dim=1)
        return y.copy_(best.values), index.copy_(best.indices)
    if x.is_cuda:
        maxout_cuda.forward(x, weight, bias, y, index)
        return y, index
    module = native.require("_cpu", "gancli::maxout")
    module.maxout_forward(
        x=x.data_ptr(),
        weight=weight.data_ptr(),
        bias=bias.data_ptr(),
        batch=batch,
        in_=inputs,
        units=units,
        pieces=pieces,
        relu=False,
        y=y.data_ptr(),
        index=index.data_ptr(),
        threads=torch.get_num_threads(),
        isa=native.cpu_isa(module),
    )
    return y, index


def _backward(
    v_y: Tensor, index: Tensor, x: Tensor, weight: Tensor, needs: list[bool]
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Return the gradients v_x, v_weight, v_bias of the cotangent v_y (batch, units); None where not needed."""
    v_y, index, x, weight = v_y.contiguous(), index.contiguous(), x.contiguous(), weight.contiguous()
    (batch, inputs), (units, pieces, _) = x.shape, weight.shape
    v_x = torch.empty_like(x) if needs[0] else None
    v_weight = room_for_gradient(weight) if needs[1] else None
    v_bias = x.new_empty(units, pieces) if needs[2] else None
    if 0 in (batch, units, inputs):
        for gradient in (v_x, v_weight):
            if gradient is not None:
                gradient.zero_()
        if v_bias is not None:
            winner = F.one_hot(index.long(), pieces)
            v_bias.copy_((winner * v_y[..., None]).sum(dim=0))
        return v_x, v_weight, v_bias
    if x.is_cuda:
        maxout_cuda.backward(v_y, index, x, weight, v_x, v_weight, v_bias)
        return v_x, v_weight, v_bias
    module = native.require("_cpu", "gancli::maxout_backward")
    module.maxout_backward(
        v_y=v_y.data_ptr(),
        index=index.data_ptr(),
        x=x.data_ptr(),
        weight=weight.data_ptr(),
        batch=batch,
        in_=inputs,
        units=units,
        pieces=pieces,
        v_x=native.address(v_x),
        v_weight=native.address(v_weight),
        v_bias=native.address(v_bias),
        threads=torch.get_num_threads(),
        isa=native.cpu_isa(module),
    )
    return v_x, v_weight, v_bias


class _Maxout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        y, index = _forward(x, weight, bias)
        ctx.save_for_backward(x, weight, bias, index)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, v_y: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight, bias, index = ctx.saved_tensors
        return _backward(v_y, index, x, weight, needed(ctx, (x, weight, bias)))


# ---- the same as operators that torch knows, for torch.compile and export ----


@torch.library.custom_op(
    "gancli::maxout",
    mutates_args=(),
    schema="(Tensor x, Tensor weight, Tensor bias) -> (Tensor y, Tensor index)",
    device_types=("cpu", "cuda"),
)
def _maxout(x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    _check(x, weight, bias)
    checks.require_float32("gancli::maxout", x=x, weight=weight, bias=bias)
    if weight.shape[1] > _most_pieces(x):
        raise InputError(f"gancli::maxout takes at most {_most_pieces(x)} pieces, got {weight.shape[1]}.")
    return _forward(x, weight, bias)


@torch.library.custom_op(
    "gancli::maxout_backward",
    mutates_args=(),
    schema="(Tensor v_y, Tensor index, Tensor x, Tensor weight, bool[] needs) -> Tensor[]",
    device_types=("cpu", "cuda"),
)
def _maxout_backward(v_y: Tensor, index: Tensor, x: Tensor, weight: Tensor, needs: list[bool]) -> list[Tensor]:
    """Return v_x, v_weight, v_bias, less those that are not needed."""
    checks.require_float32("gancli::maxout_backward", v_y=v_y, x=x, weight=weight)
    checks.require_alike(v_y=v_y, index=index)
    return [gradient for gradient in _backward(v_y, index, x, weight, needs) if gradient is not None]


@_maxout.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    y = x.new_empty(x.shape[0], weight.shape[0])
    return y, torch.empty_like(y, dtype=torch.uint8)


@_maxout_backward.register_fake
def _(v_y: Tensor, index: Tensor, x: Tensor, weight: Tensor, needs: list[bool]) -> list[Tensor]:
    gradients = (x.new_empty(x.shape), weight.new_empty(weight.shape), weight.new_empty(weight.shape[:2]))
    return [gradient for gradient, need in zip(gradients, needs, strict=True) if need]


def _save(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: tuple[Tensor, Tensor]) -> None:
    x, weight, _ = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(x, weight, output[1])


def _differentiate(ctx: Any, v_y: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    x, weight, index = ctx.saved_tensors
    found = iter(_maxout_backward(v_y, index, x, weight, list(ctx.needs_input_grad)))
    return tuple(next(found) if need else None for need in ctx.needs_input_grad)


_maxout.register_autograd(_differentiate, setup_context=_save)


def _in_float32(*tensors: Tensor) -> tuple[Tensor, Tensor]:
    """Compute under autocast what is computed without it: halves have no kernel here."""
    with torch.autocast(tensors[0].device.type, enabled=False):
        return torch.ops.gancli.maxout(*map(at_least_float32, tensors))  # type: ignore[no-any-return]


# CustomOpDef.register_autocast would do the same, from torch 2.7 on.
_AUTOCAST = torch.library.Library("gancli", "FRAGMENT")
for _key in ("AutocastCPU", "AutocastCUDA"):
    _AUTOCAST.impl("maxout", _in_float32, _key)
