"""Gradients added up over ranks: what makes several processes play one game."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from gancli.ranks import Ranks

_ALIGNMENT = 64  # bytes, as torch aligns tensors: kernels are faster with it


class GradientSums:
    """Replaces a network's gradient by its sum over ranks, in one message: g = Σ_r ∂(loss_r / R)/∂θ.

    With parts of one size on all R ranks this is the gradient of the mean loss over the whole minibatch. The share 1/R
    is taken from the loss, where it costs nothing, rather than from the sum.

    Each network has one buffer, of which the gradients handed out are parts: where they become the parameters' `.grad`,
    `gancli.ops.gradients` writes the next ones straight into the buffer, and nothing is copied.
    """

    def __init__(self, ranks: Ranks, networks: Iterable[nn.Module]) -> None:
        self._ranks = ranks
        shared = networks if ranks.size > 1 else ()
        self._buffers = {network: _Buffer(list(network.parameters())) for network in shared}

    def __call__(self, network: nn.Module, gradients: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Return the sums, for one of the networks that were named; with one rank, the gradients themselves."""
        if self._ranks.size == 1:
            return gradients
        buffer = self._buffers[network]
        buffer.fill(gradients)
        self._ranks.sum_(buffer.whole)
        return buffer.parts


class _Buffer:
    """One tensor, cut into parts that have the parameters' shapes."""

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        step = _ALIGNMENT // parameters[0].element_size()
        rooms = [-(-p.numel() // step) * step for p in parameters]
        self.whole = torch.zeros(sum(rooms), dtype=parameters[0].dtype, device=parameters[0].device)
        self.parts = tuple(
            room[: p.numel()].view(p.shape) for room, p in zip(self.whole.split(rooms), parameters, strict=True)
        )

    def fill(self, gradients: Sequence[Tensor]) -> None:
        """Take gradients in, but for those that have been written here already."""
        for part, gradient in zip(self.parts, gradients, strict=True):
            if gradient.data_ptr() != part.data_ptr():
                part.copy_(gradient)
