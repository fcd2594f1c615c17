"""The classifier's bound against divergences that are known, and on which side of them it lies."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from gancli.errors import InputError
from gancli.evaluate.classifier import half_width, jsd_lower_bound

JSD_AT_TWO = 0.336830820347  # of two unit normals at distance 2; tests/theory has it from SciPy's quadrature


def normal(n: int, seed: int, *shape: int) -> Tensor:
    return torch.randn(n, *(shape or (1, 1, 1)), generator=torch.Generator().manual_seed(seed))


def test_it_comes_close_to_a_known_divergence_and_stays_below() -> None:
    found = jsd_lower_bound(normal(4000, 1), normal(4000, 2) + 2)
    assert found.low < JSD_AT_TWO
    # 2,000 unseen points a side leave a standard error of about 0.008, a trained D loses about as much.
    assert found.bound == pytest.approx(JSD_AT_TWO, abs=0.03)
    # The best accuracy is Φ(1).
    assert found.accuracy == pytest.approx(0.8413, abs=0.03)
    assert (found.num_data, found.num_samples) == (2000, 2000)


def test_the_lower_end_is_below_the_divergence_in_repetition() -> None:
    # Its confidence is 97.5 % for each; that one of four fails has a probability of 0.10 for the best D, and of
    # almost 0 for those that so few points make.
    for seed in range(4):
        found = jsd_lower_bound(normal(200, 2 * seed), normal(200, 2 * seed + 1) + 2, seed=seed)
        assert found.low <= JSD_AT_TWO


def test_where_nothing_differs_nothing_is_claimed() -> None:
    found = jsd_lower_bound(normal(2000, 1), normal(2000, 2))
    assert found.low == 0
    assert found.bound < 0.01
    assert found.accuracy == pytest.approx(0.5, abs=0.04)


def test_what_never_meets_is_log_2_apart() -> None:
    found = jsd_lower_bound(normal(1000, 1), normal(1000, 2) + 100)
    # Logits are cut where D is within 0.001 of 0 and 1, and training may stop a little before that.
    most = math.log(2) + math.log(0.999)
    assert most - 0.003 < found.bound < most + 1e-12
    assert found.high <= math.log(2)
    assert found.accuracy == 1


def test_images_and_other_counts() -> None:
    x, y = normal(150, 1, 1, 6, 6), normal(260, 2, 1, 6, 6)
    y[:, :, :3] += 3
    found = jsd_lower_bound(x, y)
    assert (found.num_data, found.num_samples) == (75, 130)
    assert found.low > 0.3


def test_a_seed_decides_everything() -> None:
    x, y = normal(300, 1), normal(300, 2) + 1
    assert jsd_lower_bound(x, y, seed=3) == jsd_lower_bound(x, y, seed=3)
    assert jsd_lower_bound(x, y, seed=3) != jsd_lower_bound(x, y, seed=4)


def test_too_few_points_are_refused() -> None:
    with pytest.raises(InputError, match="100 points"):
        jsd_lower_bound(normal(500, 1), normal(99, 2))


def test_where_all_unseen_points_are_right_the_interval_is_not_a_point() -> None:
    found = jsd_lower_bound(normal(100, 1), normal(100, 2) + 100)
    assert found.accuracy == 1
    # 50 points a side: 1 − 0.025^(1/50) = 0.0711 of either could be wrong all along, at log 999 a point.
    assert found.low <= found.bound - 0.0711 * math.log(999)
    assert half_width(0.0, 50, 50) == pytest.approx(0.0711 * math.log(999), rel=1e-3)


@pytest.mark.parametrize("n", [50, 120, 600])
@pytest.mark.parametrize("wrong", [0.002, 0.01, 0.03, 0.07, 0.2, 0.5])
@pytest.mark.parametrize("spread", [0.0, 1.0], ids=["two values", "spread"])
def test_the_interval_covers_what_it_claims(n: int, wrong: float, spread: float) -> None:
    """Either set holds mostly points that D is sure of, and a few that it has wrong: bounded and skewed."""
    trials, rng = 4000, torch.Generator().manual_seed(1)
    top, bottom = math.log(0.999), math.log(0.001)
    kind = torch.rand(2, trials, n, generator=rng, dtype=torch.float64) < wrong
    within = spread * torch.rand(2, trials, n, generator=rng, dtype=torch.float64)
    values = torch.where(kind, bottom + 2 * within, top - 0.3 * within)  # log D and log(1 − D)
    truth = wrong * (bottom + spread) + (1 - wrong) * (top - 0.15 * spread)
    error = (values.var(dim=2) / n).sum(dim=0).sqrt() / 2
    reach = torch.tensor([half_width(float(one), n, n) for one in error], dtype=torch.float64)
    off = values.mean(dim=2).sum(dim=0) / 2 - truth
    # Three standard deviations of a share of 4,000 trials are allowed for.
    assert (off > reach).double().mean() <= 0.025 + 3 * math.sqrt(0.025 / trials)
    assert (off.abs() > reach).double().mean() <= 0.05 + 3 * math.sqrt(0.05 / trials)
