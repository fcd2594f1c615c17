"""Minibatches of training examples, each pass in an order of its own."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from gancli.errors import UsageError
from gancli.ranks import ALONE, Ranks
from gancli.train.schedules import iterations_per_epoch
from gancli.train.seeds import make_rng


class Minibatches:
    """Draws minibatches of m examples without replacement; a new order for each pass over the training set.

    The order of pass p depends on the seed and p alone, so that a position is one number and a resumed run needs no
    other state. What does not fill a minibatch at the end of a pass is left out of that pass. Several ranks share each
    minibatch, so that the data and their order do not depend on their number.

    Attributes:
        own_size: this rank's examples of a minibatch.

    Source: Pylearn2's shuffled_sequential iteration, SGD's default in the released configurations.
    """

    def __init__(
        self,
        train: Tensor,
        preprocess: Callable[[Tensor], Tensor],
        batch_size: int,
        seed: int,
        device: torch.device,
        ranks: Ranks = ALONE,
    ) -> None:
        if len(train) < batch_size:
            raise UsageError(
                f"--batch-size {batch_size} is more than the {len(train)} training examples; choose at most that many."
            )
        if batch_size % ranks.size:
            nearest = max(round(batch_size / ranks.size), 1) * ranks.size
            raise UsageError(
                f"--batch-size {batch_size} cannot be shared evenly by {ranks.size} ranks: start a number of ranks "
                f"that divides it, or a new run with {nearest} or --batch-per-rank, which counts it for each rank."
            )
        # Raw bytes, a quarter of the floats: even CIFAR-10 lies whole on the device.
        self._train = train.to(device)
        self._preprocess, self._size, self._seed = preprocess, batch_size, seed
        self._own, self.own_size = ranks.part(batch_size), batch_size // ranks.size
        self._pass, self._order = -1, torch.empty(0)

    @property
    def per_pass(self) -> int:
        """Minibatches in one pass over the training set."""
        return iterations_per_epoch(len(self._train), self._size)

    def draw(self, position: int) -> Tensor:
        """Return this rank's part of minibatch number `position` since the start of training.

        Returns:
            (m / ranks, channels, height, width) float32.
        """
        return self.examples(self.indices(position))

    def indices(self, position: int) -> Tensor:
        """Return which examples these are, (m / ranks,) int64 on the device; a part of the pass's order."""
        number, start = position // self.per_pass, position % self.per_pass * self._size
        if number != self._pass:
            order = torch.randperm(len(self._train), generator=make_rng(self._seed, f"order/{number}"))
            self._pass, self._order = number, order.to(self._train.device)
        return self._order[start : start + self._size][self._own]

    def examples(self, indices: Tensor) -> Tensor:
        """Return the examples of these numbers as the networks see them."""
        return self._preprocess(self._train[indices])
