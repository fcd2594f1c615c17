"""The exponential moving average of a network's weights, which irons out the last steps of a game that never rests."""

from __future__ import annotations

import copy
from typing import Generic, TypeVar

import torch
from torch import nn

EVERY = 10  # iterations from one update to the next: the average moves slowly, and memory is spared

Network = TypeVar("Network", bound=nn.Module)


class WeightAverage(Generic[Network]):
    """θ̄ ← β·θ̄ + (1 − β)·θ after every iteration, carried out every EVERY iterations with β^EVERY.

    For its first 4/(1 − β) iterations (1 + t)/(5 + t) stands for β, so that the first weights are soon forgotten; t
    counts from the iteration at which averaging began.

    Attributes:
        network: holds the averaged weights; the very network that is trained where β is 0.
        since: the iterations that were done when averaging began.

    Source: Yazıcı et al. 2019, "The unusual effectiveness of averaging in GAN training".
    """

    def __init__(self, network: Network, decay: float) -> None:
        self.decay, self._trained, self.since = decay, network, 0
        self.network = copy.deepcopy(network).requires_grad_(False) if decay else network

    def begin(self, step: int) -> None:
        """Begin with the weights as they are after iteration number `step`, in a run that had no average until now."""
        self.since = step
        self.network.load_state_dict(self._trained.state_dict())

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take the weights in, after iteration number `step` (from 1)."""
        if not self.decay or step % EVERY:
            return
        taken = step - self.since
        share = 1 - min(self.decay, (1 + taken) / (5 + taken)) ** EVERY
        torch._foreach_lerp_(list(self.network.parameters()), list(self._trained.parameters()), share)
