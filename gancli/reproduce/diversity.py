"""Whether samples differ from each other as much as the data do: what a collapsed generator gives away."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

NUM = 2000  # of each; the mean over two million pairs is sharp enough for a factor of two
_LOWEST, _HIGHEST = 0.5, 2.0


@dataclass(frozen=True)
class Diversity:
    """Mean pairwise distances.

    Attributes:
        samples: among samples, Euclidean, in the space of the networks.
        data: among training examples, the same.
    """

    samples: float
    data: float

    @property
    def ratio(self) -> float:
        """Samples' over data's: 1 is as diverse as the data, 0 a single picture."""
        return self.samples / self.data

    @property
    def warning(self) -> str | None:
        """A sentence where the two differ by more than a factor of two."""
        if _LOWEST <= self.ratio <= _HIGHEST:
            return None
        what = "less alike than" if self.ratio > 1 else "more alike than"
        return (
            f"The samples are {what} the data: their mean pairwise distance is {self.samples:.3g}, "
            f"{self.ratio:.2f} times the data's {self.data:.3g}"
            f"{'; the generator may have collapsed' if self.ratio < 1 else ''}."
        )


@torch.no_grad()
def mean_pairwise_distance(x: Tensor) -> float:
    """Return the mean of ‖x_i − x_j‖ over all pairs i < j.

    Args:
        x: (n, …) float, n ≥ 2.
    """
    return float(torch.pdist(x.flatten(1).double()).mean())


def compare_diversity(samples: Tensor, data: Tensor) -> Diversity:
    """Compare the first of the samples with the first of the data, both as the networks see them."""
    return Diversity(mean_pairwise_distance(samples[:NUM]), mean_pairwise_distance(data[:NUM]))
