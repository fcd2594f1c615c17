"""Gradients added up over ranks: what makes several processes play one game."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from gancli.ranks import Ranks
from gancli.train.end_to_end import parts, room
from gancli.train.shared_rows import shared_rows


class GradientSums:
    """Replaces a network's gradient by its sum over ranks: g = Σ_r ∂(loss_r / R)/∂θ.

    With parts of one size on all R ranks this is the gradient of the mean loss over the whole minibatch. The share 1/R
    is taken from the loss, where it costs nothing, rather than from the sum.

    Each network has one buffer, of which the gradients handed out are parts: where they become the parameters' `.grad`,
    `gancli.ops.gradients` writes the next ones straight into the buffer, and nothing is copied.

    Ranks on the CPU of one machine have their buffers in memory that all of them see, and read each other's; others
    send theirs in one message, which through the loopback would take several times as long (docs/scaling.md).
    """

    def __init__(self, ranks: Ranks, networks: Iterable[nn.Module]) -> None:
        self._ranks = ranks
        shared = networks if ranks.size > 1 else ()
        self._buffers = {network: _Buffer(list(network.parameters()), ranks) for network in shared}

    def __call__(self, network: nn.Module, gradients: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Return the sums, for one of the networks that were named; with one rank, the gradients themselves."""
        if self._ranks.size == 1:
            return gradients
        buffer = self._buffers[network]
        buffer.fill(gradients)
        if buffer.rows is None:
            self._ranks.sum_(buffer.whole)
        else:
            buffer.rows.sum_()
        return buffer.parts


class _Buffer:
    """One tensor, cut into parts that have the parameters' shapes; a row of `rows` where all ranks see those."""

    def __init__(self, parameters: Sequence[nn.Parameter], ranks: Ranks) -> None:
        first, columns = parameters[0], room(parameters)
        self.rows = shared_rows(ranks, columns, first.dtype) if first.device.type == "cpu" else None
        self.whole = (
            torch.zeros(columns, dtype=first.dtype, device=first.device)
            if self.rows is None
            else self.rows.values[ranks.rank]
        )
        self.parts = parts(self.whole, parameters)

    def fill(self, gradients: Sequence[Tensor]) -> None:
        """Take gradients in, but for those that have been written here already."""
        for part, gradient in zip(self.parts, gradients, strict=True):
            if gradient.data_ptr() != part.data_ptr():
                part.copy_(gradient)
