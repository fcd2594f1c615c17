"""The momentum update in one pass over memory."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gancli.errors import InputError
from gancli.ops import native

Rate = float | Tensor


@torch.no_grad()
def momentum_update(
    parameters: Sequence[Tensor],
    velocities: Sequence[Tensor],
    gradients: Sequence[Tensor],
    *,
    lr: Rate,
    momentum: Rate,
    rate_inside: bool = True,
    backend: str = "auto",
) -> None:
    """Update velocities and parameters in place.

    With the rate inside the velocity, as Pylearn2 has it: v ← momentum·v − lr·g;  θ ← θ + v
    Outside, as torch has it: v ← momentum·v + g;  θ ← θ − lr·v

    Args:
        parameters: θ, any shapes.
        velocities: v, shapes of the parameters.
        gradients: g, likewise; or with one dimension more, parts (R, …) of g, which is their sum.
        lr: learning rate; a number, or a tensor () float32 on the parameters' device, which a CUDA graph reads anew
            whenever it is replayed.
        momentum: what is kept of the velocity; likewise.
        rate_inside: which of the two forms; the kernel for the CPU has the first alone.
        backend: "auto", "torch" or "native".

    Raises:
        InputError: shapes differ.
        UsageError: the backend is unknown, or "native" cannot serve these tensors.

    Source: pylearn2.training_algorithms.learning_rule.Momentum; torch.optim.SGD.
    """
    if not parameters:
        return
    parts = _parts(parameters, gradients)
    _require_alike(parameters, velocities, parts)
    tensors = [*parameters, *velocities, *(part[0] for part in parts)]
    device = parameters[0].device.type
    supported = all(t.dtype == torch.float32 and t.is_contiguous() and t.device.type == device for t in tensors)
    supported = supported and native.plain(*tensors)
    supported = supported and (all(len(part) == 1 for part in parts) if device == "cuda" else rate_inside)
    why_not = (
        "it updates contiguous float32 tensors on one device, on the CPU with the rate inside the velocity, on a GPU "
        "with gradients in one part"
    )
    if not native.chosen(backend, "momentum_update", device, supported, why_not):
        momentum_update_reference(parameters, velocities, gradients, lr=lr, momentum=momentum, rate_inside=rate_inside)
        return
    update = _update_on_a_gpu if device == "cuda" else _update_on_the_cpu
    update(parameters, velocities, gradients, lr, momentum, rate_inside)
    # What was written behind torch's back must still invalidate graphs that saved it.
    torch.autograd.graph.increment_version([*parameters, *velocities])


@torch.no_grad()
def momentum_update_reference(
    parameters: Sequence[Tensor],
    velocities: Sequence[Tensor],
    gradients: Sequence[Tensor],
    *,
    lr: Rate,
    momentum: Rate,
    rate_inside: bool = True,
    backend: str = "torch",
) -> None:
    """Update in three passes, as the formulas stand."""
    del backend
    gradients = [part[0] if len(part) == 1 else part.sum(0) for part in _parts(parameters, gradients)]
    torch._foreach_mul_(list(velocities), momentum)
    _add_scaled_(velocities, gradients, -lr if rate_inside else 1)
    _add_scaled_(parameters, velocities, 1 if rate_inside else -lr)


def _parts(parameters: Sequence[Tensor], gradients: Sequence[Tensor]) -> list[Tensor]:
    """Return the gradients as parts, (R, …) each."""
    return [g if g.dim() > p.dim() else g[None] for p, g in zip(parameters, gradients, strict=True)]


def _require_alike(parameters: Sequence[Tensor], velocities: Sequence[Tensor], parts: Sequence[Tensor]) -> None:
    for p, v, part in zip(parameters, velocities, parts, strict=True):
        if not p.shape == v.shape == part.shape[1:] or len(part) == 0:
            raise InputError(
                f"A velocity and a gradient must have the shape of their parameter, {tuple(p.shape)}, got "
                f"{tuple(v.shape)} and {tuple(part.shape[1:])} in {len(part)} parts."
            )


def _add_scaled_(to: Sequence[Tensor], terms: Sequence[Tensor], factor: Rate) -> None:
    if isinstance(factor, Tensor):  # which torch would read back to make a number of it
        for tensor, term in zip(to, terms, strict=True):
            tensor.addcmul_(term, factor)
    else:
        torch._foreach_add_(list(to), list(terms), alpha=factor)


def _update_on_the_cpu(
    parameters: Sequence[Tensor],
    velocities: Sequence[Tensor],
    gradients: Sequence[Tensor],
    lr: Rate,
    momentum: Rate,
    rate_inside: bool,
) -> None:
    del rate_inside
    module, parts = native.require("_cpu", "momentum_update"), _parts(parameters, gradients)
    module.momentum_update(
        parameters=[t.data_ptr() for t in parameters],
        velocities=[t.data_ptr() for t in velocities],
        gradients=[t.data_ptr() for t in gradients],
        counts=[t.numel() for t in parameters],
        parts=[len(part) for part in parts],
        strides=[part.stride(0) for part in parts],
        momentum=float(momentum),
        lr=float(lr),
        threads=torch.get_num_threads(),
        isa=native.cpu_isa(module),
    )


def _update_on_a_gpu(
    parameters: Sequence[Tensor],
    velocities: Sequence[Tensor],
    gradients: Sequence[Tensor],
    lr: Rate,
    momentum: Rate,
    rate_inside: bool,
) -> None:
    module = native.require("_cuda", "momentum_update")
    device = parameters[0].device
    # The kernel reads both from device memory, where a graph that is replayed finds what they are by then.
    rates = [
        rate.to(device, torch.float32)
        if isinstance(rate, Tensor)
        else torch.full((), rate, dtype=torch.float32, device=device)
        for rate in (lr, momentum)
    ]
    with torch.cuda.device(device):
        module.momentum_update(
            parameters=[t.data_ptr() for t in parameters],
            velocities=[t.data_ptr() for t in velocities],
            gradients=[t.data_ptr() for t in gradients],
            counts=[t.numel() for t in parameters],
            lr=rates[0].data_ptr(),
            momentum=rates[1].data_ptr(),
            rate_inside=rate_inside,
            device=device.index,
            stream=torch.cuda.current_stream().cuda_stream,
        )
