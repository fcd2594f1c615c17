"""Running means of what the game shows, kept on the device until somebody looks."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gancli.ranks import ALONE, Ranks
from gancli.train.algorithm1 import Iteration

NAMES = ("loss_d", "loss_g", "d_x", "d_gz")


def shown(seen: Iteration) -> Tensor:
    """Return what is shown of an iteration, (4,) in the order of NAMES, on its device."""
    return torch.stack([seen.loss_d, seen.loss_g, seen.real.sigmoid().mean(), seen.fake.sigmoid().mean()])


class Monitor:
    """Means of D's loss, G's loss, D(x) and D(G(z)) over the iterations since the last reset, and over all ranks.

    Ranks tell each other what they saw whenever one of them looks, so that all must look together.

    Attributes:
        first_bad: the first iteration of which one of them was not finite, as far as has been looked; or None.
    """

    def __init__(self, device: torch.device, window: int, ranks: Ranks = ALONE) -> None:
        """Make an empty one.

        Args:
            device: where the game is played.
            window: iterations after which the device is read from at the latest.
            ranks: who plays the game together.
        """
        self._ranks = ranks
        self.count = 0
        self.first_bad: int | None = None
        self._sums = [0.0] * len(NAMES)
        self._window = torch.zeros(window, len(NAMES), device=device)
        self._filled, self._step = 0, 0

    def add(self, row: Tensor, step: int) -> None:
        """Take in what is `shown` of iteration number `step`; the device is not read before the window is full."""
        self._window[self._filled] = row
        self._filled, self._step = self._filled + 1, step
        self.count += 1
        if self._filled == len(self._window):
            self._read()

    def means(self) -> dict[str, float]:
        """Return the means by name; reads from the device."""
        self._read()
        return dict(zip(NAMES, (total / max(self.count, 1) for total in self._sums), strict=True))

    def reset(self) -> None:
        """Forget everything."""
        self._sums = [0.0] * len(NAMES)
        self.count = self._filled = 0

    def state(self) -> dict[str, Tensor | int]:
        """Return what a checkpoint in the middle of an epoch needs."""
        self._read()
        return {"sums": torch.tensor(self._sums, dtype=torch.float64), "count": self.count}

    def load(self, state: dict[str, Tensor | int]) -> None:
        """Take up a state again."""
        self._sums = torch.as_tensor(state["sums"], dtype=torch.float64).reshape(len(NAMES)).tolist()
        self.count, self._filled = int(state["count"]), 0

    def _read(self) -> None:
        """Add the window's rows to the sums one after the other, so that they do not depend on who looks when."""
        if not self._filled:
            return
        first = self._step - self._filled + 1
        rows = self._ranks.sum_(self._window[: self._filled]) / self._ranks.size
        for step, row in enumerate(rows.tolist(), start=first):
            if self.first_bad is None and not all(map(math.isfinite, row)):
                self.first_bad = step
            self._sums = [total + value for total, value in zip(self._sums, row, strict=True)]
        self._filled = 0
