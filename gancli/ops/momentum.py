"""Pylearn2's momentum update in one pass over memory."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gancli.ops import native


@torch.no_grad()
def momentum_update(
    parameters: Sequence[Tensor],
    velocities: Sequence[Tensor],
    gradients: Sequence[Tensor],
    *,
    lr: float,
    momentum: float,
    backend: str = "auto",
) -> None:
    """Update velocities and parameters in place.

    v ← momentum·v − lr·g;  θ ← θ + v

    Args:
        parameters: θ, any shapes.
        velocities: v, shapes of the parameters.
        gradients: g, likewise.
        lr: learning rate.
        momentum: what is kept of the velocity.
        backend: "auto", "torch" or "native".

    Raises:
        UsageError: the backend is unknown, or "native" cannot serve these tensors.

    Source: pylearn2.training_algorithms.learning_rule.Momentum.
    """
    if not parameters:
        return
    tensors = [*parameters, *velocities, *gradients]
    device = parameters[0].device.type
    supported = all(t.dtype == torch.float32 and t.is_contiguous() and t.device.type == device for t in tensors)
    why_not = "it updates contiguous float32 tensors on one device"
    if not native.chosen(backend, "momentum_update", device, supported, why_not):
        momentum_update_reference(parameters, velocities, gradients, lr=lr, momentum=momentum)
        return
    module = native.require("_cpu", "momentum_update")
    module.momentum_update(
        parameters=[t.data_ptr() for t in parameters],
        velocities=[t.data_ptr() for t in velocities],
        gradients=[t.data_ptr() for t in gradients],
        counts=[t.numel() for t in parameters],
        momentum=momentum,
        lr=lr,
        threads=torch.get_num_threads(),
        isa=native.cpu_isa(module),
    )
    # What was written behind torch's back must still invalidate graphs that saved it.
    torch.autograd.graph.increment_version([*parameters, *velocities])


@torch.no_grad()
def momentum_update_reference(
    parameters: Sequence[Tensor],
    velocities: Sequence[Tensor],
    gradients: Sequence[Tensor],
    *,
    lr: float,
    momentum: float,
    backend: str = "torch",
) -> None:
    """Update in three passes, as the formula stands."""
    del backend
    torch._foreach_mul_(list(velocities), momentum)
    torch._foreach_add_(list(velocities), list(gradients), alpha=-lr)
    torch._foreach_add_(list(parameters), list(velocities))
