"""Gradients of one player's weights, and of nothing else.

torch tells an autograd.Function only which of its inputs were differentiable in the forward pass
(ctx.needs_input_grad), not which gradients this backward pass is for. In a game of two players both networks are
differentiable, but each backward pass is for one of them: without more knowledge, G's pass would compute all of D's
weight gradients, and D's pass the gradient of the images, only to throw them away.

It also allocates every gradient anew. The large ones of a wide network come straight from the system, page by page,
zeroed, and go back after the step: for a weight of 100 MB that takes as long as the arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class _Wanted:
    """What a backward pass is for: addresses of leaves, and where the gradients of some may be written, once each."""

    leaves: frozenset[int]
    buffers: dict[int, Tensor]


# By the engine's number of the pass: on a GPU it runs in a thread of the engine, and several may run at once.
_wanted: dict[int, _Wanted] = {}
# Asks the engine whether a node lies on the way to a wanted gradient; torch.utils.checkpoint's kin rely on it too.
_will_execute = getattr(torch._C, "_will_engine_execute_node", None)


def gradients(
    loss: Tensor, parameters: Sequence[Tensor], *, retain_graph: bool = False, reuse: bool = False
) -> tuple[Tensor, ...]:
    """Return ∂loss/∂p for each parameter: torch.autograd.grad, without work on gradients of other leaves.

    Args:
        loss: scalar.
        parameters: leaves of the graph.
        retain_graph: keep the graph for another backward pass.
        reuse: the numbers in p.grad are used up: the operations may write the new gradient over them, and the result
            may be that very tensor.
    """
    buffers = {p.data_ptr(): p.grad for p in parameters if p.grad is not None} if reuse else {}
    wanted = _Wanted(frozenset(p.data_ptr() for p in parameters), buffers)
    passes: list[int] = []

    def begin(_: Tensor) -> None:
        passes.append(torch._C._current_graph_task_id())
        _wanted[passes[-1]] = wanted

    with torch.enable_grad():
        root = loss.view_as(loss)  # a node of this pass alone, and the first that it reaches
    root.register_hook(begin)
    try:
        return torch.autograd.grad(root, parameters, retain_graph=retain_graph)
    finally:
        for number in passes:
            del _wanted[number]


def _of_this_pass() -> _Wanted | None:
    """Return what the backward pass that calls is for; None if nobody said."""
    return _wanted.get(torch._C._current_graph_task_id())


def room_for_gradient(parameter: Tensor) -> Tensor:
    """Return an uninitialised contiguous tensor like `parameter`: its old gradient, where `gradients` may reuse it.

    A parameter that occurs twice in the graph gets it only once, since torch adds up both contributions afterwards.
    """
    wanted = _of_this_pass()
    old = None if wanted is None else wanted.buffers.pop(parameter.data_ptr(), None)
    fits = old is not None and old.shape == parameter.shape and old.dtype == parameter.dtype and old.is_contiguous()
    return old if old is not None and fits else torch.empty_like(parameter, memory_format=torch.contiguous_format)


def needed(ctx: Any, inputs: Sequence[Tensor]) -> list[bool]:
    """Say in an autograd.Function's backward, for each tensor that the forward took, whether its gradient is used.

    Args:
        ctx: the Function's context.
        inputs: the tensors that were the first arguments of forward, in order.
    """
    wanted = _of_this_pass()
    if wanted is None:
        return list(ctx.needs_input_grad[: len(inputs)])
    return [
        differentiable and _is_wanted(wanted, tensor, node)
        for differentiable, tensor, (node, _) in zip(ctx.needs_input_grad, inputs, ctx.next_functions, strict=False)
    ]


def _is_wanted(wanted: _Wanted, tensor: Tensor, node: Any) -> bool:
    if tensor.is_leaf:
        return tensor.data_ptr() in wanted.leaves
    return _will_execute is None or bool(_will_execute(node))


def bound_gradient_norm_(parameters: Sequence[Tensor], bound: float) -> None:
    """Scale gradients so that the norm of all of them together is at most `bound`.

    The bits are those of torch.nn.utils.clip_grad_norm_, which goes through all gradients once more even where there is
    nothing to bound: on a GPU that saves waiting for the norm, on a CPU nothing.

    Args:
        parameters: tensors with a gradient.
        bound: positive.
    """
    norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    if norm.is_cuda or not norm + 1e-6 <= bound:  # as torch adds it to the divisor; NaN must reach the weights
        torch.nn.utils.clip_grads_with_norm_(parameters, bound, norm)
