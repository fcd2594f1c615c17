"""Precision, recall, density and coverage against brute force in float64 and against sets whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from gancli.errors import InputError
from gancli.evaluate.manifold import overlap


def normal(n: int, d: int, seed: int) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def brute_force(data: Tensor, samples: Tensor, k: int) -> tuple[float, float, float, float]:
    """As in the papers, with NumPy, from the full matrices of distances in float64."""
    x, y = data.flatten(1).double().numpy(), samples.flatten(1).double().numpy()

    def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.sqrt(((a[:, None] - b[None]) ** 2).sum(-1))

    # The k-th neighbour: position k of a sorted row whose position 0 is the point itself.
    r_x, r_y = np.sort(distances(x, x))[:, k], np.sort(distances(y, y))[:, k]
    xy = distances(x, y)
    in_data_ball, in_sample_ball = xy <= r_x[:, None], xy <= r_y[None]
    return (
        in_data_ball.any(axis=0).mean(),
        in_sample_ball.any(axis=1).mean(),
        in_data_ball.sum(axis=0).mean() / k,
        in_data_ball.any(axis=1).mean(),
    )


@pytest.mark.parametrize(
    ("m", "n", "d", "k"), [(60, 50, 1, 1), (300, 200, 2, 3), (250, 350, 30, 5), (200, 200, 300, 5)]
)
@pytest.mark.parametrize("change", ["same", "shifted", "narrow"])
def test_equal_to_brute_force_in_float64(m: int, n: int, d: int, k: int, change: str) -> None:
    x, y = normal(m, d, 1), normal(n, d, 2)
    y = {"same": y, "shifted": y + 0.5, "narrow": 0.3 * y}[change]
    found = overlap(x, y, k)
    assert (found.precision, found.recall, found.density, found.coverage) == pytest.approx(
        brute_force(x, y, k), rel=1e-14
    )


def test_one_distribution_has_the_density_and_coverage_that_theory_gives() -> None:
    found = overlap(normal(2000, 8, 1), normal(2000, 8, 2), neighbours=5)
    # Naeem et al. 2020: E density = 1, E coverage = 1 − (n−1)…(n−k) / ((2n−1)…(2n−k)) ≈ 1 − 2^−k for equal sizes.
    assert found.density == pytest.approx(1, abs=0.05)
    assert found.coverage == pytest.approx(1 - 2**-5, abs=0.015)


def test_samples_of_one_mode_are_precise_but_do_not_cover() -> None:
    data = torch.cat([normal(500, 2, 1) - 20, normal(500, 2, 2) + 20])
    found = overlap(data, normal(1000, 2, 3) + 20)
    assert found.precision > 0.95
    assert found.recall == pytest.approx(0.5, abs=0.02)
    assert found.coverage == pytest.approx(0.5, abs=0.02)


def test_images_are_flattened() -> None:
    x, y = normal(40, 12, 1), normal(40, 12, 2)
    assert overlap(x.view(40, 3, 2, 2), y.view(40, 3, 2, 2)) == overlap(x, y)


def test_more_neighbours_than_points_are_refused() -> None:
    with pytest.raises(InputError, match="below the 5 points"):
        overlap(normal(5, 2, 1), normal(9, 2, 2), neighbours=5)
