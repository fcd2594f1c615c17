"""Gradients of one player's weights, and of nothing else.

torch tells an autograd.Function only which of its inputs were differentiable in the forward pass
(ctx.needs_input_grad), not which gradients this backward pass is for. In a game of two players both networks are
differentiable, but each backward pass is for one of them: without more knowledge, G's pass would compute all of D's
weight gradients, and D's pass the gradient of the images, only to throw them away.

It also allocates every gradient anew. The large ones of a wide network come straight from the system, page by page,
zeroed, and go back after the step: for a weight of 100 MB that takes as long as the arithmetic.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class _Wanted(threading.local):
    """What the backward pass that runs in this thread is for: addresses of leaves, or None if nobody said."""

    def __init__(self) -> None:
        self.leaves: frozenset[int] | None = None
        self.buffers: dict[int, Tensor] = {}  # by the same addresses, where their gradients may be written, once each


_wanted = _Wanted()
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
    before = _wanted.leaves, _wanted.buffers
    _wanted.leaves = frozenset(p.data_ptr() for p in parameters)
    _wanted.buffers = {p.data_ptr(): p.grad for p in parameters if p.grad is not None} if reuse else {}
    try:
        return torch.autograd.grad(loss, parameters, retain_graph=retain_graph)
    finally:
        _wanted.leaves, _wanted.buffers = before


def room_for_gradient(parameter: Tensor) -> Tensor:
    """Return an uninitialised contiguous tensor like `parameter`: its old gradient, where `gradients` may reuse it.

    A parameter that occurs twice in the graph gets it only once, since torch adds up both contributions afterwards.
    """
    old = _wanted.buffers.pop(parameter.data_ptr(), None)
    fits = old is not None and old.shape == parameter.shape and old.dtype == parameter.dtype and old.is_contiguous()
    return old if old is not None and fits else torch.empty_like(parameter, memory_format=torch.contiguous_format)


def needed(ctx: Any, inputs: Sequence[Tensor]) -> list[bool]:
    """Say in an autograd.Function's backward, for each tensor that the forward took, whether its gradient is used.

    Args:
        ctx: the Function's context.
        inputs: the tensors that were the first arguments of forward, in order.
    """
    if _wanted.leaves is None:
        return list(ctx.needs_input_grad[: len(inputs)])
    return [
        differentiable and _is_wanted(tensor, node)
        for differentiable, tensor, (node, _) in zip(ctx.needs_input_grad, inputs, ctx.next_functions, strict=False)
    ]


def _is_wanted(tensor: Tensor, node: Any) -> bool:
    if tensor.is_leaf:
        return tensor.data_ptr() in (_wanted.leaves or ())
    return _will_execute is None or bool(_will_execute(node))
