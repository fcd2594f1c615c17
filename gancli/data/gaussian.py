"""Numbers from a mixture of normal distributions: a data set whose density is known exactly, for Figure 1."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gancli.data.dataset import Dataset
from gancli.errors import UsageError


@dataclass(frozen=True)
class Mixture:
    """p(x) = Σ_i w_i N(x; m_i, s_i²); the weights need not sum to one."""

    means: tuple[float, ...] = (0.0,)
    stds: tuple[float, ...] = (1.0,)
    weights: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        if not (len(self.means) == len(self.stds) == len(self.weights) > 0):
            raise UsageError(
                f"A mixture needs as many means as stds and weights: got {len(self.means)}, {len(self.stds)} and "
                f"{len(self.weights)}."
            )
        if not all(math.isfinite(value) for value in (*self.means, *self.stds, *self.weights)):
            raise UsageError("A mixture's means, stds and weights must be finite numbers.")
        if min(self.stds) <= 0 or min(self.weights) <= 0:
            raise UsageError(
                f"A mixture's stds and weights must be positive: got stds {self.stds}, weights {self.weights}."
            )


# By the data set's name. The paper does not say what Figure 1's data were; one normal hump is what it draws.
MIXTURES = {
    "gaussian": Mixture((4.0,), (0.5,), (1.0,)),
    "gaussian-mixture": Mixture((-3.0, 0.0, 3.0), (0.4, 0.4, 0.4), (0.3, 0.4, 0.3)),
}


def load_gaussian(
    seed: int = 0,
    num_train: int = 50_000,
    num_valid: int = 10_000,
    num_test: int = 10_000,
    means: Sequence[float] | None = None,
    stds: Sequence[float] | None = None,
    weights: Sequence[float] | None = None,
    *,
    name: str = "gaussian",
) -> Dataset:
    """Draw a one-dimensional data set; the same seed gives the same numbers.

    Args:
        seed: of the draw.
        num_train: examples to train on.
        num_valid: examples for choosing σ.
        num_test: examples for the reported figure.
        means: of the components; all three None take the mixture of that `name`.
        stds: standard deviations, positive.
        weights: positive; divided by their sum.
        name: the data set's name.

    Returns:
        float32 (n, 1, 1, 1) in each split.

    Raises:
        UsageError: sizes below one, or a mixture that is none.
    """
    if min(num_train, num_valid, num_test) < 1:
        raise UsageError(f"Each split needs at least one example: got {num_train}, {num_valid} and {num_test}.")
    if not 0 <= seed < 2**63:
        raise UsageError(f"A seed is a whole number from 0 to 2^63 - 1, got {seed}.")
    mixture = _mixture(means, stds, weights, name)
    total = num_train + num_valid + num_test
    generator = torch.Generator().manual_seed(seed)
    weight = torch.tensor(mixture.weights, dtype=torch.float64)
    component = torch.multinomial(weight, total, replacement=True, generator=generator)
    noise = torch.randn(total, dtype=torch.float64, generator=generator)
    means_, stds_ = (torch.tensor(values, dtype=torch.float64) for values in (mixture.means, mixture.stds))
    x = (means_[component] + stds_[component] * noise).to(torch.float32).reshape(-1, 1, 1, 1)
    end = num_train + num_valid
    return Dataset(name=name, train=x[:num_train], valid=x[num_train:end], test=x[end:])


def load_gaussian_mixture(seed: int = 0) -> Dataset:
    """Draw the mixture of three modes; see `load_gaussian`."""
    return load_gaussian(seed, name="gaussian-mixture")


def gaussian_density(
    x: Tensor,
    means: Sequence[float] | None = None,
    stds: Sequence[float] | None = None,
    weights: Sequence[float] | None = None,
    *,
    name: str = "gaussian",
) -> Tensor:
    """The exact density p(x) = Σ_i w_i N(x; m_i, s_i²) of the same mixture.

    Args:
        x: any shape.
        means: as in `load_gaussian`.
        stds: the same.
        weights: the same.
        name: which named mixture, when the three are None.

    Returns:
        float64, the shape of x, per unit of x.

    Raises:
        UsageError: a mixture that is none.
    """
    mixture = _mixture(means, stds, weights, name)
    x = x.to(torch.float64)
    total = sum(mixture.weights)
    density = torch.zeros_like(x)
    for mean, std, weight in zip(mixture.means, mixture.stds, mixture.weights, strict=True):
        density += weight / total * torch.exp(-0.5 * ((x - mean) / std) ** 2) / (std * math.sqrt(2 * math.pi))
    return density


def _mixture(
    means: Sequence[float] | None, stds: Sequence[float] | None, weights: Sequence[float] | None, name: str
) -> Mixture:
    """The mixture that the arguments mean: the named one, or theirs with stds 1 and equal weights unless given."""
    if means is None and stds is None and weights is None:
        if name not in MIXTURES:
            raise UsageError(f"Unknown mixture {name!r}: expected one of {', '.join(MIXTURES)}.")
        return MIXTURES[name]
    if means is None:
        raise UsageError("A mixture of your own needs its means: pass means=(...).")
    count = len(means)
    return Mixture(tuple(means), tuple(stds or (1.0,) * count), tuple(weights or (1.0,) * count))
