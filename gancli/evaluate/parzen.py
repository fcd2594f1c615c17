"""The Parzen-window score of Table 1, by the authors' protocol and with σ refined beside it."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from gancli.errors import InputError
from gancli.evaluate.sharing import shared_log_likelihood
from gancli.ranks import ALONE, Ranks

# Source: parzen_ll.py of the released code: ten values, log-spaced from 10^-1 to 10^0.
PAPER_SIGMAS: tuple[float, ...] = tuple(10 ** (-1 + i / 9) for i in range(10))
PAPER_NUM_VALIDATION = 1000
# Between the best value's neighbours; on MNIST the steps of 1.3% leave less than 0.05 nats on the table.
REFINED_VALUES = 41


@dataclass(frozen=True)
class Estimate:
    """A mean log-likelihood at one σ.

    Attributes:
        log_likelihood: mean over the test examples, nats.
        standard_error: std / √num_test, nats; covers the test examples alone, neither samples nor training seed.
        sigma: kernel width, in the unit of the data.
    """

    log_likelihood: float
    standard_error: float
    sigma: float


@dataclass(frozen=True)
class ParzenScore:
    """A Parzen-window figure with what it takes to compare it: sample count, σ rule and validation size.

    Attributes:
        estimate: on the given σ grid (the paper's unless said otherwise).
        refined: with σ refined around the grid's best; None where σ was given.
        sigmas: the grid.
        validation_log_likelihoods: mean over the validation examples at each σ of the grid, nats.
        refined_sigmas: the finer values tried around the best.
        refined_log_likelihoods: the same mean at each of them, nats.
        num_samples: kernel centres.
        num_test: test examples.
        num_validation: validation examples.
        seconds: wall time.
    """

    estimate: Estimate
    refined: Estimate | None
    sigmas: list[float]
    validation_log_likelihoods: list[float]
    num_samples: int
    num_test: int
    num_validation: int
    seconds: float
    refined_sigmas: list[float] = field(default_factory=list)
    refined_log_likelihoods: list[float] = field(default_factory=list)

    @property
    def validation_log_likelihood(self) -> float:
        """The validation mean at the σ of `estimate`, nats."""
        return self.validation_log_likelihoods[self.sigmas.index(self.estimate.sigma)]

    @property
    def at_edge(self) -> bool:
        """Whether the best σ is the first or last of several, so that a better one may lie outside the grid."""
        return len(self.sigmas) > 1 and self.estimate.sigma in (self.sigmas[0], self.sigmas[-1])


def log_spaced(low: float, high: float, count: int) -> list[float]:
    """Return `count` values from `low` to `high` with equal ratios."""
    if not (0 < low <= high and math.isfinite(high)) or count < 1 or (count == 1 and low != high):
        raise InputError(f"A σ grid needs 0 < low ≤ high and a count of 2 or more, got {low:g}:{high:g}:{count}.")
    return [low * (high / low) ** (i / max(count - 1, 1)) for i in range(count)]


def best_index(log_likelihoods: Sequence[float]) -> int:
    """Return which σ of a grid validation chooses: the one of the largest mean log-likelihood, of equals the first."""
    return max(range(len(log_likelihoods)), key=log_likelihoods.__getitem__)


def mean_log_likelihoods(
    x: Tensor, samples: Tensor, sigmas: Sequence[float], *, backend: str = "auto", ranks: Ranks = ALONE
) -> list[float]:
    """Return the mean over x of the Parzen log-likelihood at each σ, in nats.

    Args:
        x: (m, …) float, points to score; flattened to (m, d).
        samples: (n, …) float, likewise.
        sigmas: kernel widths.
        backend: "auto", "torch" or "native".
        ranks: who shares the work.
    """
    values = shared_log_likelihood(x.flatten(1), samples.flatten(1), list(sigmas), backend=backend, ranks=ranks)
    means: list[float] = values.double().mean(dim=1).tolist()
    return means


def parzen_score(
    samples: Tensor,
    test: Tensor,
    valid: Tensor,
    *,
    sigmas: Sequence[float] = PAPER_SIGMAS,
    backend: str = "auto",
    ranks: Ranks = ALONE,
) -> ParzenScore:
    """Score samples by the authors' protocol: σ by validation log-likelihood, then mean and error on the test set.

    p(x) = (1/n) Σ_j N(x; μ_j, σ²I)

    Args:
        samples: (n, …) float, from the model, in the space of the data.
        test: (m, …) float, the examples the figure is about.
        valid: (v, …) float, the examples that choose σ.
        sigmas: the grid; a single value is taken as it is.
        backend: "auto", "torch" or "native".
        ranks: who shares the work; each has all examples and samples.

    Returns:
        The score on the grid and, where there is a choice of σ, with σ refined between the best value's neighbours.

    Raises:
        InputError: shapes differ, or NaN or infinity in any of the three.

    Source: section 5 of the paper; parzen_ll.py of the released code.
    """
    for name, points in (("test", test), ("valid", valid)):
        if len(points) == 0 or points[0].numel() != samples[0].numel():
            raise InputError(
                f"{name} must be examples of {samples[0].numel()} values as the samples are, "
                f"got shape {tuple(points.shape)}."
            )
    start = time.perf_counter()
    grid = sorted(float(sigma) for sigma in sigmas)
    validation = mean_log_likelihoods(valid, samples, grid, backend=backend, ranks=ranks)
    best = best_index(validation)
    chosen, finer, finer_validation = [grid[best]], [], []
    if len(grid) > 1:
        finer = log_spaced(grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)], REFINED_VALUES)
        finer_validation = mean_log_likelihoods(valid, samples, finer, backend=backend, ranks=ranks)
        chosen.append(finer[best_index(finer_validation)])
    values = shared_log_likelihood(test.flatten(1), samples.flatten(1), chosen, backend=backend, ranks=ranks).double()
    estimates = [estimate(row, sigma) for row, sigma in zip(values, chosen, strict=True)]
    return ParzenScore(
        estimate=estimates[0],
        refined=estimates[1] if len(estimates) > 1 else None,
        sigmas=grid,
        validation_log_likelihoods=validation,
        refined_sigmas=finer,
        refined_log_likelihoods=finer_validation,
        num_samples=len(samples),
        num_test=len(test),
        num_validation=len(valid),
        seconds=time.perf_counter() - start,
    )


def estimate(log_likelihoods: Tensor, sigma: float) -> Estimate:
    """Return the mean over test examples, (m,) float64 in nats, and its standard error.

    Source: parzen_ll.py of the released code, where numpy's std is the population's, without Bessel's correction.
    """
    error = log_likelihoods.std(correction=0) / math.sqrt(len(log_likelihoods))
    return Estimate(float(log_likelihoods.mean()), float(error), sigma)


def over_folds(scores: Sequence[ParzenScore]) -> tuple[float, float]:
    """Return the figure of a score, or of one score per fold the mean and its standard error, std / √folds, in nats.

    With Bessel's correction: of five folds, the population's deviation would be a tenth too small.

    Source: Table 1's caption, for TFD; the released code has no sum over folds.
    """
    if len(scores) == 1:
        return scores[0].estimate.log_likelihood, scores[0].estimate.standard_error
    means = torch.tensor([score.estimate.log_likelihood for score in scores], dtype=torch.float64)
    return float(means.mean()), float(means.std(correction=1) / math.sqrt(len(means)))
