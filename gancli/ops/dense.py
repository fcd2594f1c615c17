"""The fully connected layer: a linear map, then an activation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from gancli.errors import InputError
from gancli.ops import checks, native
from gancli.ops.gradients import needed, room_for_gradient

ACTIVATIONS = ("linear", "relu", "sigmoid", "tanh")
# Layers with fewer units leave most of a tile of the native kernel empty.
_LEAST_UNITS = 32
# Up to this share of non-zeros in the cotangent behind a relu, lists of them (csrc/cpu/sparse_product.cpp) beat
# MKL's dense products; at a half they break even.
_FEW = 0.35


def dense(x: Tensor, weight: Tensor, bias: Tensor, activation: str = "linear", *, backend: str = "auto") -> Tensor:
    """Apply a fully connected layer.

    y = f(x·weightᵀ + bias), f one of linear, relu, sigmoid, tanh

    The native path, which there is on the CPU alone, fuses relu, computes no gradient in vain and reuses the memory of
    the last one. "auto" leaves its matrix products to torch where those are fast: on Intel CPUs, where MKL reaches
    about 0.9 of the arithmetic peak at these shapes and the kernels here 0.8 (on an AMD Zen 5 MKL reaches 0.3, the
    kernels 0.8). The rule knows the CPU and the numbers, never a measured time: a machine always computes alike.

    Args:
        x: (batch, in) float.
        weight: (units, in) float.
        bias: (units,) float.
        activation: "linear", "relu", "sigmoid" or "tanh".
        backend: "auto", "torch" or "native".

    Returns:
        y (batch, units), dtype of x; differentiable in x, weight and bias (once, on the native path).

    Raises:
        InputError: a shape, a dtype, a device or the activation is off.
        UsageError: the backend is unknown, or "native" cannot serve these inputs.
    """
    _check(x, weight, bias, activation)
    supported = x.dtype == weight.dtype == bias.dtype == torch.float32
    supported = supported and not torch.is_autocast_enabled(x.device.type) and native.plain(x, weight, bias)
    why_not = (
        f"it computes in float32 outside autocast, torch.compile and torch.func, x is {x.dtype}, weight {weight.dtype}"
    )
    if not native.chosen(backend, "dense", x.device.type, supported, why_not):
        return dense_reference(x, weight, bias, activation)
    asked = native.requested_backend(backend) == "native"
    if len(weight) < _LEAST_UNITS and not asked:
        return dense_reference(x, weight, bias, activation)
    own_products = asked or not native.torch_multiplies_fast()
    y: Tensor = _Dense.apply(x, weight, bias, activation == "relu", own_products)  # type: ignore[no-untyped-call]
    return y if activation == "relu" else _activate(y, activation)


def dense_reference(
    x: Tensor, weight: Tensor, bias: Tensor, activation: str = "linear", *, backend: str = "torch"
) -> Tensor:
    """Compute y with torch's linear map."""
    del backend
    return _activate(F.linear(x, weight, bias), activation)


def _activate(z: Tensor, activation: str) -> Tensor:
    return z if activation == "linear" else getattr(torch, activation)(z)


def _check(x: Tensor, weight: Tensor, bias: Tensor, activation: str) -> None:
    checks.require_shape("x", x, ("batch", "in"))
    checks.require_shape("weight", weight, ("units", "in"))
    checks.require_shape("bias", bias, ("units",))
    for name, tensor in (("x", x), ("weight", weight), ("bias", bias)):
        checks.require_floating(name, tensor)
    if x.shape[1] != weight.shape[1]:
        raise InputError(f"x has {x.shape[1]} inputs, weight (units, in) expects {weight.shape[1]}.")
    if len(bias) != len(weight):
        raise InputError(f"bias must have shape {(len(weight),)}, got {tuple(bias.shape)}.")
    checks.require_one_device(x=x, weight=weight, bias=bias)
    if activation not in ACTIVATIONS:
        raise InputError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {activation!r}.")


class _Dense(torch.autograd.Function):
    """Linear map and relu; with `own_products` as a maxout layer of one piece (csrc/cpu/maxout.cpp)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, relu: bool, own_products: bool) -> Tensor:
        ctx.own_products = own_products and 0 not in (*x.shape, len(weight))
        if ctx.own_products:
            y = _product_natively(x, weight, bias, relu)
        else:
            y = torch.addmm(bias, x, weight.T)
            if relu:
                y.relu_()
        ctx.save_for_backward(x, weight, bias, *([y] if relu else []))
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, v_y: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, *relu = ctx.saved_tensors
        needs = needed(ctx, (x, weight, bias))
        v_z = torch.ops.aten.threshold_backward(v_y, relu[0], 0) if relu else v_y
        v_weight = room_for_gradient(weight) if needs[1] else None
        if ctx.own_products or (relu and 0 not in (*x.shape, len(weight)) and _few_nonzeros(v_z)):
            v_x = x.new_empty(x.shape) if needs[0] else None
            v_bias = bias.new_empty(bias.shape) if needs[2] else None
            _gradients_natively(v_z, x, weight, v_x, v_weight, v_bias)
            return v_x, v_weight, v_bias, None, None
        if v_weight is not None:
            torch.mm(v_z.T, x, out=v_weight)
        return v_z @ weight if needs[0] else None, v_weight, v_z.sum(dim=0) if needs[2] else None, None, None


def _few_nonzeros(v_z: Tensor) -> bool:
    module = native.require("_cpu", "dense")
    count: int = module.count_nonzeros(v_z.contiguous().data_ptr(), v_z.numel())
    return count <= _FEW * v_z.numel()


def _product_natively(x: Tensor, weight: Tensor, bias: Tensor, relu: bool) -> Tensor:
    x, weight, bias = x.contiguous(), weight.contiguous(), bias.contiguous()
    y = x.new_empty(len(x), len(weight))
    module = native.require("_cpu", "dense")
    module.maxout_forward(
        x=x.data_ptr(),
        weight=weight.data_ptr(),
        bias=bias.data_ptr(),
        batch=len(x),
        in_=x.shape[1],
        units=len(weight),
        pieces=1,
        relu=relu,
        y=y.data_ptr(),
        index=0,
        threads=torch.get_num_threads(),
        isa=native.cpu_isa(module),
    )
    return y


def _gradients_natively(
    v_z: Tensor, x: Tensor, weight: Tensor, v_x: Tensor | None, v_weight: Tensor | None, v_bias: Tensor | None
) -> None:
    v_z, x, weight = v_z.contiguous(), x.contiguous(), weight.contiguous()
    module = native.require("_cpu", "dense")
    module.maxout_backward(
        v_y=v_z.data_ptr(),
        index=0,
        x=x.data_ptr(),
        weight=weight.data_ptr(),
        batch=len(x),
        in_=x.shape[1],
        units=len(weight),
        pieces=1,
        v_x=native.address(v_x),
        v_weight=native.address(v_weight),
        v_bias=native.address(v_bias),
        threads=torch.get_num_threads(),
        isa=native.cpu_isa(module),
    )
