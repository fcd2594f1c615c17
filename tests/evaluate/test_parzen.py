"""The Parzen score against float64 NumPy written out, closed forms, and the authors' protocol step by step."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from gancli.data.dataset import Dataset, Fold
from gancli.data.samples import SamplesFile
from gancli.errors import DataError, InputError, UsageError
from gancli.evaluate.parzen import PAPER_SIGMAS, REFINED_VALUES, log_spaced, over_folds, parzen_score
from gancli.evaluate.scoring import beware_of_unit, score_samples, summarise, validation_size


def log_p(x: np.ndarray, samples: np.ndarray, sigma: float) -> np.ndarray:
    """log p(x) by the paper's formula, in float64, from explicit differences."""
    squared = ((x[:, None, :] - samples[None, :, :]) ** 2).sum(axis=2)
    e = -squared / (2 * sigma**2)
    top = e.max(axis=1, keepdims=True)
    log_mean = top[:, 0] + np.log(np.exp(e - top).mean(axis=1))
    return log_mean - x.shape[1] * math.log(sigma * math.sqrt(2 * math.pi))


@pytest.fixture
def clouds() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(11)
    return tuple(torch.rand(n, 1, 4, 5, generator=rng) for n in (300, 80, 60))  # type: ignore[return-value]


def as_numpy(images: torch.Tensor) -> np.ndarray:
    return images.flatten(1).double().numpy()


def test_score_follows_the_authors_protocol(clouds: tuple[torch.Tensor, ...]) -> None:
    samples, test, valid = clouds
    score = parzen_score(samples, test, valid)
    assert score.sigmas == pytest.approx(np.logspace(-1, 0, 10).tolist())
    validation = [log_p(as_numpy(valid), as_numpy(samples), sigma).mean() for sigma in score.sigmas]
    assert score.validation_log_likelihoods == pytest.approx(validation, abs=1e-3)
    best = score.sigmas[int(np.argmax(validation))]
    values = log_p(as_numpy(test), as_numpy(samples), best)
    assert score.estimate.sigma == best
    assert score.estimate.log_likelihood == pytest.approx(values.mean(), abs=1e-3)
    assert score.estimate.standard_error == pytest.approx(values.std() / math.sqrt(len(values)), abs=1e-4)
    assert (score.num_samples, score.num_test, score.num_validation) == (300, 80, 60)


def test_refined_sigma_lies_between_the_neighbours_and_is_no_worse_on_validation(
    clouds: tuple[torch.Tensor, ...],
) -> None:
    score = parzen_score(*clouds)
    at = score.sigmas.index(score.estimate.sigma)
    assert score.refined is not None
    assert score.sigmas[at - 1] <= score.refined.sigma <= score.sigmas[at + 1]
    assert max(score.refined_log_likelihoods) >= score.validation_log_likelihood - 1e-6
    assert len(score.refined_sigmas) == REFINED_VALUES
    values = log_p(as_numpy(clouds[1]), as_numpy(clouds[0]), score.refined.sigma)
    assert score.refined.log_likelihood == pytest.approx(values.mean(), abs=1e-3)


def test_one_sample_is_a_gaussian() -> None:
    d, sigma = 6, 0.7
    test = torch.randn(50, 1, 1, d)
    score = parzen_score(torch.zeros(1, 1, 1, d), test, test, sigmas=[sigma])
    expected = (-test.double().square().sum(dim=(1, 2, 3)) / (2 * sigma**2)).mean() - d * math.log(
        sigma * math.sqrt(2 * math.pi)
    )
    assert score.estimate.log_likelihood == pytest.approx(expected.item(), abs=1e-5)
    assert score.refined is None


def test_many_gaussian_samples_approach_the_analytic_convolution() -> None:
    # samples from N(0, 1) widened by σ are N(0, 1 + σ²): the mean log-likelihood of N(0, 1) data is then known
    rng = torch.Generator().manual_seed(1)
    samples = torch.randn(10_000, 1, generator=rng)
    test = torch.randn(2000, 1, generator=rng)
    score = parzen_score(samples, test, test, sigmas=[0.5])
    variance = 1 + 0.5**2
    expected = -0.5 * math.log(2 * math.pi * variance) - (test.double() ** 2).mean().item() / (2 * variance)
    assert score.estimate.log_likelihood == pytest.approx(expected, abs=0.02)


def test_given_sigma_is_taken_as_it_is(clouds: tuple[torch.Tensor, ...]) -> None:
    score = parzen_score(*clouds, sigmas=[0.37])
    assert score.estimate.sigma == 0.37
    assert not score.at_edge


def test_best_sigma_at_an_edge_is_noticed(clouds: tuple[torch.Tensor, ...]) -> None:
    assert parzen_score(*clouds, sigmas=[0.9, 0.95, 1.0]).at_edge


def test_paper_grid_is_ten_values_from_a_tenth_to_one() -> None:
    assert list(PAPER_SIGMAS) == pytest.approx(np.logspace(-1, 0, num=10).tolist(), rel=1e-12)
    assert log_spaced(0.1, 1.0, 10) == pytest.approx(list(PAPER_SIGMAS))


@pytest.mark.parametrize(("low", "high", "count"), [(0.0, 1.0, 3), (1.0, 0.5, 3), (0.1, 1.0, 0), (0.1, 1.0, 1)])
def test_impossible_grid_is_refused(low: float, high: float, count: int) -> None:
    with pytest.raises(InputError, match="A σ grid needs"):
        log_spaced(low, high, count)


def test_shapes_must_agree() -> None:
    with pytest.raises(InputError, match="test must be examples of 4 values"):
        parzen_score(torch.rand(3, 4), torch.rand(3, 5), torch.rand(3, 4))


def test_over_folds_is_mean_and_standard_error_over_folds(clouds: tuple[torch.Tensor, ...]) -> None:
    samples, test, valid = clouds
    scores = [parzen_score(samples, part, valid, sigmas=[0.3]) for part in test.split(16)]
    means = np.array([score.estimate.log_likelihood for score in scores])
    assert over_folds(scores) == pytest.approx((means.mean(), means.std(ddof=1) / math.sqrt(5)))


def pixels(count: int, seed: int) -> torch.Tensor:
    return torch.randint(0, 256, (count, 1, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def test_uint8_samples_are_preprocessed_as_the_data_are() -> None:
    dataset = Dataset("small", pixels(50, 0), pixels(30, 1), pixels(40, 2))
    samples = pixels(60, 3)
    as_pixels = score_samples(SamplesFile(samples), dataset)
    as_floats = score_samples(SamplesFile(samples.float() / 255), dataset)
    assert as_pixels.log_likelihood == pytest.approx(as_floats.log_likelihood, abs=1e-4)


def test_floats_in_the_wrong_unit_raise_a_warning() -> None:
    dataset = Dataset("small", pixels(50, 0), pixels(30, 1), pixels(40, 2))
    scored = score_samples(SamplesFile(pixels(60, 3).float()), dataset)
    assert any("same unit" in sentence for sentence in scored.warnings)
    assert any("60 samples" in sentence for sentence in scored.warnings)


def test_a_sigma_that_cannot_be_meant_raises_a_warning() -> None:
    dataset = Dataset("small", pixels(50, 0), pixels(30, 1), pixels(40, 2))
    scored = score_samples(SamplesFile(pixels(60, 3)), dataset, sigmas=[0.01])
    assert any("leave --sigma out" in sentence for sentence in scored.warnings)


def test_folds_are_scored_each_with_its_own_validation_set() -> None:
    folds = tuple(Fold(pixels(20, 10 + f), pixels(25, 20 + f)) for f in range(5))
    dataset = Dataset("faces", pixels(50, 0), folds[0].valid, folds[0].test, folds)
    file = SamplesFile(pixels(60, 3))
    scored = score_samples(file, dataset)
    assert len(scored.scores) == 5
    one = score_samples(file, dataset, fold=3).scores[0]
    assert one.estimate == scored.scores[3].estimate
    assert one.num_validation == 20
    prepared = [t.flatten(1).double().numpy() / 255 for t in (folds[3].test, file.samples)]
    assert one.estimate.log_likelihood == pytest.approx(log_p(*prepared, one.estimate.sigma).mean(), abs=1e-3)


def test_validation_size_follows_the_protocol() -> None:
    dataset = Dataset("mnist-like", pixels(5, 0), pixels(5, 0), pixels(5, 0))
    assert validation_size(dataset, None, 10_000) == 1000
    assert validation_size(dataset, None, 400) == 400
    assert validation_size(dataset, 50, 400) == 50
    faces = Dataset("faces", pixels(5, 0), pixels(5, 0), pixels(5, 0), (Fold(pixels(5, 0), pixels(5, 0)),))
    assert validation_size(faces, None, 3000) == 3000


def test_samples_of_another_shape_are_refused() -> None:
    dataset = Dataset("small", pixels(50, 0), pixels(30, 1), pixels(40, 2))
    with pytest.raises(DataError, match="small has"):
        score_samples(SamplesFile(torch.rand(5, 3, 4, 4)), dataset)


def test_contradicting_preprocessing_is_refused() -> None:
    dataset = Dataset("small", pixels(50, 0), pixels(30, 1), pixels(40, 2))
    values = {"kind": "scale", "gcn_scale": 55.0, "mean": 0.0, "norm": 1.0, "low": 0.0, "high": 255.0}
    with pytest.raises(UsageError, match="contradicts"):
        score_samples(SamplesFile(pixels(5, 3), preprocessing=values), dataset, preprocessing="gcn")


@pytest.mark.parametrize(
    ("low", "high", "wrong"),
    [(0.0, 1.0, False), (-1.0, 1.0, True), (-0.42, 2.82, True), (-0.04, 1.04, False), (0.0, 255.0, True)],
    ids=["the data's own", "tanh", "standardised", "a little beyond", "bytes"],
)
def test_the_unit_is_told_from_values_far_outside_or_from_many_outside(low: float, high: float, wrong: bool) -> None:
    data = torch.rand(50, 16, generator=torch.Generator().manual_seed(1))
    assert bool(beware_of_unit(low + (high - low) * data, data)) == wrong


def test_a_few_values_outside_the_data_are_no_other_unit() -> None:
    rng = torch.Generator().manual_seed(1)
    data = torch.rand(50, 16, generator=rng)
    noisy = data + 0.3 * torch.randn(50, 16, generator=rng)  # 0.18 of the values are more than 0.05 outside
    assert beware_of_unit(noisy, data) == []


@pytest.mark.parametrize("edges", [(), (3,), (0, 1, 2, 3, 4)])
def test_every_fold_is_looked_at(edges: tuple[int, ...]) -> None:
    data, samples = torch.rand(40, 3), torch.rand(10_000, 3)
    grids = ([0.01, 0.1, 10.0], [10.0, 20.0, 30.0])
    inside, at_edge = (parzen_score(samples, data, data, sigmas=grid) for grid in grids)
    assert (inside.at_edge, at_edge.at_edge) == (False, True)
    found = summarise([at_edge if n in edges else inside for n in range(5)])
    assert len(found.warnings) == bool(edges)


def test_samples_in_too_small_a_unit_are_noticed() -> None:
    """0 and 1 taken for bytes, and pixels that were divided by 255 twice."""
    data = torch.rand(50, 784)
    assert beware_of_unit((data > 0.5).float(), data) == []
    for small in ((data > 0.5).float() / 255, data / 255):
        (sentence,) = beware_of_unit(small, data)
        assert "are they in the same unit?" in sentence
