"""Precision, recall, density and coverage: how two sets of points overlap, judged by k nearest neighbours."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from gancli.errors import InputError
from gancli.ops import count_in_balls, nearest_squared_distances

PAPER_NEIGHBOURS = 5  # Naeem et al. 2020


@dataclass(frozen=True)
class Overlap:
    """How far samples lie among the data, and the data among the samples.

    Attributes:
        precision: share of samples inside the ball of some data point.
        recall: share of data points inside the ball of some sample.
        density: mean number of data balls that hold a sample, divided by k; 1 where both follow one density.
        coverage: share of data points with a sample inside their own ball.
        neighbours: k; a ball reaches to its centre's k-th neighbour in its own set.
    """

    precision: float
    recall: float
    density: float
    coverage: float
    neighbours: int


def overlap(data: Tensor, samples: Tensor, neighbours: int = PAPER_NEIGHBOURS) -> Overlap:
    """Measure precision, recall, density and coverage by Euclidean distance.

    Args:
        data: (m, …) float, held-out data.
        samples: (n, …) float, in the same space.
        neighbours: k, below m and n.

    Raises:
        InputError: k is too large for the sets.

    Source: Kynkäänniemi et al. 2019 (precision, recall); Naeem et al. 2020 (density, coverage).
    """
    if not 1 <= neighbours < min(len(data), len(samples)):
        raise InputError(
            f"neighbours must be at least 1 and below the {min(len(data), len(samples)):,} points there are, "
            f"got {neighbours}."
        )
    x, y = data.flatten(1), samples.flatten(1)
    data_radii = nearest_squared_distances(x, x, neighbours, exclude_self=True)[:, -1]
    sample_radii = nearest_squared_distances(y, y, neighbours, exclude_self=True)[:, -1]
    balls = count_in_balls(y, x, data_radii)
    return Overlap(
        precision=float((balls > 0).double().mean()),
        recall=float((count_in_balls(x, y, sample_radii) > 0).double().mean()),
        density=float(balls.double().mean()) / neighbours,
        coverage=float((nearest_squared_distances(x, y, 1)[:, 0] <= data_radii).double().mean()),
        neighbours=neighbours,
    )
