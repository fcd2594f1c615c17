"""Checks that the operations share; each failure names the argument, what was expected and what came."""

from __future__ import annotations

import torch
from torch import Tensor

from gancli.errors import InputError


def require_shape(name: str, tensor: Tensor, dims: tuple[str, ...]) -> None:
    """Raise InputError unless `tensor` has as many dimensions as `dims` names."""
    if tensor.dim() != len(dims):
        raise InputError(f"{name} must have shape ({', '.join(dims)}), got {tuple(tensor.shape)}.")


def require_floating(name: str, tensor: Tensor) -> None:
    """Raise InputError unless `tensor` holds floating-point numbers."""
    if not tensor.is_floating_point():
        raise InputError(f"{name} must be floating point, got {tensor.dtype}; convert it with .float() first.")


def require_float32(operator: str, **tensors: Tensor) -> None:
    """Raise InputError unless all tensors are float32, which an exported graph that was turned into another has not."""
    for name, tensor in tensors.items():
        if tensor.dtype != torch.float32:
            raise InputError(f"{operator} computes in float32, {name} is {tensor.dtype}; convert it with .float().")


def require_alike(**tensors: Tensor) -> None:
    """Raise InputError unless all tensors, given by name, have one shape."""
    shapes = [tuple(tensor.shape) for tensor in tensors.values()]
    if any(shape != shapes[0] for shape in shapes):
        raise InputError(f"{', '.join(tensors)} must have one shape, got {', '.join(map(str, shapes))}.")


def require_one_device(**tensors: Tensor) -> None:
    """Raise InputError unless all tensors, given by name, are on one device."""
    devices = [tensor.device for tensor in tensors.values()]
    if any(device != devices[0] for device in devices):
        raise InputError(f"{', '.join(tensors)} must be on one device, got {', '.join(map(str, devices))}.")


def require_finite_rows(name: str, tensor: Tensor, first: int = 0) -> None:
    """Raise InputError naming the first row of `tensor` (n, d), counted from `first`, that holds NaN or infinity."""
    # A finite sum proves finite summands without a mask as large as the input; only a suspicious one is searched.
    if torch.isfinite(tensor.sum(dtype=torch.float64)):
        return
    bad = (~torch.isfinite(tensor)).any(dim=1).nonzero()
    if bad.numel():
        row = int(bad[0])
        value = tensor[row][~torch.isfinite(tensor[row])][0].item()
        raise InputError(f"{name} holds {value} in row {first + row}; every value must be finite.")
