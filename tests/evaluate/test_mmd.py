"""MMD against brute force and closed forms; its standard error against repetition."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from gancli.errors import InputError
from gancli.evaluate.mmd import discrepancy, median_bandwidth


def normal(n: int, d: int, seed: int) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def brute_force(x: Tensor, y: Tensor, h: float) -> float:
    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return torch.exp(-(a[:, None] - b[None]).square().sum(dim=2) / (2 * h * h))

    m, n = len(x), len(y)
    xx, yy = kernel(x, x).fill_diagonal_(0), kernel(y, y).fill_diagonal_(0)
    return float(xx.sum() / (m * (m - 1)) + yy.sum() / (n * (n - 1)) - 2 * kernel(x, y).mean())


@pytest.mark.parametrize(("m", "n", "d"), [(2, 2, 1), (30, 41, 1), (50, 30, 7), (40, 60, 300)])
def test_equal_to_brute_force(m: int, n: int, d: int) -> None:
    x, y = normal(m, d, 1), normal(n, d, 2) + 0.3
    h = math.sqrt(d)
    assert discrepancy(x, y, h).mmd_squared == pytest.approx(brute_force(x, y, h), abs=1e-13)
    # float32 kernel sums: their relative error is below 1e-5, their means below 1.
    assert discrepancy(x.float(), y.float(), h).mmd_squared == pytest.approx(brute_force(x, y, h), abs=2e-5)


def test_the_bandwidth_is_the_median_distance_within_the_data() -> None:
    x = torch.tensor([[0.0], [1.0], [3.0]])
    assert median_bandwidth(x) == 2
    assert discrepancy(x, x + 1).bandwidth == 2


def gaussian_mmd(shift: float, h: float) -> float:
    """MMD² of N(0, 1) and N(shift, 1): E k over two normals is h/√(h² + 2)·exp(−Δ²/(2(h² + 2)))."""
    scale = h / math.sqrt(h * h + 2)
    return 2 * scale * (1 - math.exp(-(shift**2) / (2 * (h * h + 2))))


@pytest.mark.parametrize(
    ("shift", "m", "n", "d", "least", "most"),
    [
        # The spread of 150 draws is itself known to 1/√300 = 6 %.
        (0.5, 60, 60, 1, 0.82, 1.18),
        (1.5, 80, 40, 1, 0.82, 1.18),
        # Where the two agree, the part that is cut at zero makes the stated error larger than the true one, but
        # hardly so where the kernel sees many directions, whose noise averages out.
        (0.0, 60, 60, 1, 1.0, 1.8),
        (0.0, 40, 90, 1, 1.0, 1.8),
        (0.0, 60, 60, 100, 0.82, 1.18),
    ],
)
def test_estimate_and_standard_error_hold_up_to_repetition(
    shift: float, m: int, n: int, d: int, least: float, most: float
) -> None:
    h, times = 1.0 if d == 1 else math.sqrt(2 * d), 150  # of the order of the distances
    found = [discrepancy(normal(m, d, 2 * i), normal(n, d, 2 * i + 1) + shift, h) for i in range(times)]
    estimates = np.array([one.mmd_squared for one in found])
    spread = estimates.std(ddof=1)
    # Unbiased: the mean over 150 draws lies within 4 of its own standard errors.
    assert estimates.mean() == pytest.approx(gaussian_mmd(shift, h), abs=4 * spread / math.sqrt(times))
    stated = math.sqrt(np.mean([one.standard_error**2 for one in found]))
    assert least * spread < stated < most * spread


@pytest.mark.parametrize(("n", "h"), [(1, 1.0), (5, 0.0), (5, float("nan"))])
def test_what_makes_no_estimate_is_refused(n: int, h: float) -> None:
    with pytest.raises(InputError, match="two points"):
        discrepancy(normal(5, 1, 1), normal(n, 1, 2), h)


def test_a_bandwidth_beyond_numbers_is_refused() -> None:
    with pytest.raises(InputError, match="cannot be computed with a bandwidth of 1e-200"):
        discrepancy(torch.rand(20, 3), torch.rand(20, 3), 1e-200)
