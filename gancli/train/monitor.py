"""Running means of what the game shows, kept on the device until somebody looks."""

from __future__ import annotations

import torch
from torch import Tensor

from gancli.train.algorithm1 import Iteration

NAMES = ("loss_d", "loss_g", "d_x", "d_gz")


class Monitor:
    """Means of D's loss, G's loss, D(x) and D(G(z)) over the iterations since the last reset."""

    def __init__(self, device: torch.device) -> None:
        self.sums = torch.zeros(len(NAMES), dtype=torch.float64, device=device)
        self.count = 0

    def add(self, seen: Iteration) -> None:
        """Take one iteration in; nothing is read back from the device."""
        means = [seen.loss_d, seen.loss_g, seen.real.sigmoid().mean(), seen.fake.sigmoid().mean()]
        self.sums += torch.stack(means)
        self.count += 1

    def means(self) -> dict[str, float]:
        """Return the means by name; reads from the device."""
        values: list[float] = (self.sums / max(self.count, 1)).tolist()
        return dict(zip(NAMES, values, strict=True))

    def reset(self) -> None:
        """Forget everything."""
        self.sums.zero_()
        self.count = 0

    def state(self) -> dict[str, Tensor | int]:
        """Return what a checkpoint in the middle of an epoch needs."""
        return {"sums": self.sums.cpu(), "count": self.count}

    def load(self, state: dict[str, Tensor | int]) -> None:
        """Take up a state again."""
        sums, count = state["sums"], state["count"]
        self.sums.copy_(torch.as_tensor(sums))
        self.count = int(count)
