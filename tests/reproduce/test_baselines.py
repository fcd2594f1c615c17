"""Samples that no model made: against values worked by hand, and on the real MNIST where it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.cluster.vq import kmeans2

from gancli.data import load
from gancli.data.preprocess import make_preprocessing
from gancli.evaluate.parzen import parzen_score
from gancli.reproduce.baselines import BASELINES, CENTROIDS, PIXEL_GAUSSIAN, TRAINING, WHITE_NOISE
from gancli.reproduce.diversity import compare_diversity, mean_pairwise_distance
from gancli.reproduce.kmeans import assign, kmeans


@pytest.fixture
def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_kmeans_finds_four_clusters_worked_by_hand(rng: torch.Generator) -> None:
    corners = torch.tensor([[0.0, 0.0], [0.0, 10.0], [10.0, 0.0], [10.0, 10.0]])
    offsets = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    x = (corners[:, None] + offsets).reshape(-1, 2)
    # The four corners are a fixed point, and whatever the first choice each turn can only come closer.
    found = kmeans(torch.cat([corners, x]), 4, iterations=50, rng=rng)
    spread = (torch.cat([corners, x]) - found[assign(torch.cat([corners, x]), found)]).square().sum()
    assert float(spread) >= 16.0  # the least possible: each of the 16 offsets has length 1
    from_corners = kmeans(corners, 4, iterations=5, rng=rng)
    assert sorted(map(tuple, from_corners.tolist())) == sorted(map(tuple, corners.tolist()))


def test_a_turn_of_kmeans_agrees_with_scipy(rng: torch.Generator) -> None:
    x = torch.rand(700, 5, dtype=torch.float64, generator=rng)
    first = x[torch.randperm(700, generator=torch.Generator().manual_seed(4))[:20]]
    ours = kmeans(x, 20, iterations=7, rng=torch.Generator().manual_seed(4))
    theirs, _ = kmeans2(x.numpy(), first.numpy(), iter=7, minit="matrix", missing="raise")
    np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-12)


def test_assignment_is_the_nearest_centroid_and_ties_go_to_the_first() -> None:
    centroids = torch.tensor([[0.0], [10.0], [10.0]])
    assert assign(torch.tensor([[1.0], [9.0], [5.0]]), centroids).tolist() == [0, 1, 0]


def test_a_centroid_without_examples_stays_where_it_is() -> None:
    x = torch.tensor([[1.0], [1.0], [1.0], [5.0]])
    found = kmeans(x, 3, iterations=3, rng=torch.Generator().manual_seed(0))
    assert torch.isfinite(found).all()
    assert set(found.flatten().tolist()) <= {1.0, 5.0}


def test_pixel_gaussian_has_the_datas_means_and_variances_and_no_correlation(rng: torch.Generator) -> None:
    base = torch.randn(4000, 1, generator=rng)
    train = torch.cat([2 + 3 * base, -1 + 0.5 * base], dim=1).view(-1, 1, 1, 2)
    drawn = PIXEL_GAUSSIAN.draw(train, 40_000, rng).flatten(1)
    # four standard errors of a mean, a standard deviation and a correlation from 40,000 draws
    assert drawn.mean(dim=0).tolist() == pytest.approx(train.flatten(1).mean(dim=0).tolist(), abs=4 * 3 / 200)
    assert drawn.std(dim=0).tolist() == pytest.approx(train.flatten(1).std(dim=0).tolist(), rel=0.02)
    assert abs(float(torch.corrcoef(drawn.T)[0, 1])) < 4 / 200


def test_white_noise_fills_the_range_of_the_data(rng: torch.Generator) -> None:
    train = torch.tensor([-2.0, 1.0, 3.0]).view(3, 1, 1, 1)
    drawn = WHITE_NOISE.draw(train, 10_000, rng)
    assert -2 <= float(drawn.min()) < -1.99
    assert 2.99 < float(drawn.max()) <= 3
    assert float(drawn.mean()) == pytest.approx(0.5, abs=4 * 5 / 12**0.5 / 100)


def test_training_images_are_the_first_ones(rng: torch.Generator) -> None:
    train = torch.arange(10.0).view(10, 1, 1, 1)
    assert TRAINING.draw(train, 4, rng).flatten().tolist() == [0, 1, 2, 3]
    assert len(TRAINING.draw(train, 40, rng)) == 10
    assert {baseline.draw(train, 6, rng).shape for baseline in BASELINES} == {(6, 1, 1, 1)}


def test_mean_pairwise_distance_of_a_right_triangle() -> None:
    triangle = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]])
    assert mean_pairwise_distance(triangle) == pytest.approx((3 + 4 + 5) / 3)


@pytest.mark.parametrize(("factor", "warns"), [(0.45, True), (0.55, False), (1.0, False), (1.9, False), (2.1, True)])
def test_diversity_is_warned_of_beyond_a_factor_of_two(factor: float, warns: bool, rng: torch.Generator) -> None:
    data = torch.rand(50, 3, generator=rng)
    found = compare_diversity(factor * data, data)
    assert found.ratio == pytest.approx(factor, rel=1e-5)
    assert (found.warning is not None) == warns
    assert ("collapsed" in (found.warning or "")) == (factor < 0.5)


@pytest.mark.slow
def test_real_mnist_training_images_and_centroids_score_as_is_known(real_data: Path) -> None:
    mnist = load("mnist", real_data)
    prepare = make_preprocessing("scale", mnist)
    train, valid, test = prepare(mnist.train), prepare(mnist.valid[:1000]), prepare(mnist.test)
    images = parzen_score(TRAINING.draw(train, 10_000, torch.Generator()), test, valid)
    assert images.estimate.log_likelihood == pytest.approx(241.19, abs=0.05)  # recomputed in float64 elsewhere
    centres = parzen_score(CENTROIDS.draw(train, 10_000, torch.Generator().manual_seed(0)), test, valid)
    # Theis et al. publish 313 without saying how many centroids or turns; ours must beat real images as theirs did.
    assert centres.estimate.log_likelihood > 300
