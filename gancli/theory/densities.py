"""Densities that are known exactly: p_data of a mixture, and p_g of a one-dimensional generator from its Jacobian."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from gancli.data.gaussian import Mixture
from gancli.errors import GancliError, UsageError
from gancli.nets.networks import Generator

# z (n,) float64 -> G(z) and dG/dz, both (n,) float64
Map = Callable[[Tensor], tuple[Tensor, Tensor]]

_GRID = 2049  # points at which G's slope is looked at for changes of sign
_FINER = 33  # points of the second look, where the slope comes close to zero without changing sign
_ITERATIONS = 100  # of a bracketed Newton search at most; halving alone would need about 53
_STILL = 1e-13  # a step this short is the last: what Newton would still correct is below rounding
_NEGLIGIBLE = 1e-9  # mass of z that may be left out where G has stopped moving
_LOG_ROOT_2PI = 0.5 * math.log(2 * math.pi)


@dataclass(frozen=True)
class Prior:
    """The density of z in one dimension, over the interval on which it is not negligible.

    Attributes:
        kind: as in gancli.nets.noise, "uniform" or "gaussian".
        low: left end.
        high: right end.
    """

    kind: str
    low: float
    high: float

    def log_density(self, z: Tensor) -> Tensor:
        """Return log p_z (n,) at z (n,) inside the interval."""
        if self.kind == "uniform":
            return torch.full_like(z, -math.log(self.high - self.low))
        return -0.5 * z.square() - _LOG_ROOT_2PI


# Beyond ±9 a standard normal has a mass of 2e-19, which rounding takes from 1.
PRIORS = {
    "uniform": Prior("uniform", -math.sqrt(3), math.sqrt(3)),
    "gaussian": Prior("gaussian", -9.0, 9.0),
}


def log_mixture_density(mixture: Mixture, x: Tensor) -> Tensor:
    """Return log p(x), p(x) = Σ_i w_i N(x; m_i, s_i²), without underflow far from every mode.

    Args:
        mixture: its weights are divided by their sum.
        x: (n,) float64.
    """
    means, stds, log_weights = _parameters(mixture)
    exponents = -0.5 * ((x[:, None] - means) / stds).square() - stds.log() - _LOG_ROOT_2PI
    return torch.logsumexp(exponents + log_weights, dim=1)


def _parameters(mixture: Mixture) -> tuple[Tensor, Tensor, Tensor]:
    """Return means, standard deviations and the logarithms of the normalised weights, each (modes,) float64."""
    means, stds, weights = (
        torch.tensor(values, dtype=torch.float64) for values in (mixture.means, mixture.stds, mixture.weights)
    )
    return means, stds, (weights / weights.sum()).log()


def network_map(G: Generator) -> Map:
    """Return a generator of one number from one number as a map in double precision, its slope by autograd."""
    if (G.noise_dim, math.prod(G.shape)) != (1, 1):
        raise UsageError(
            f"Its density is known for a generator from one number to one; this one maps {G.noise_dim} to {G.shape}."
        )
    exact = copy.deepcopy(G).double().requires_grad_(False)
    return differentiable_map(lambda z: exact(z[:, None]).flatten())


def differentiable_map(function: Callable[[Tensor], Tensor]) -> Map:
    """Return a function of each z alone, in operations of torch, as a map with its slope."""

    def value_and_slope(z: Tensor) -> tuple[Tensor, Tensor]:
        z = z.detach().requires_grad_()
        with torch.enable_grad():
            x = function(z)
            (slope,) = torch.autograd.grad(x.sum(), z)
        return x.detach(), slope

    return value_and_slope


def quantile_map(mixture: Mixture) -> Map:
    """Return the increasing G that carries a standard normal z to the mixture, so that p_g = p_data.

    F(G(z)) = Φ(z), solved for the logarithm of whichever tail is the smaller; the slope is p_z/p_data by the inverse
    function theorem.
    """
    means, stds, log_weights = _parameters(mixture)
    low, high = float((means - 20 * stds).min()), float((means + 20 * stds).max())

    def value_and_slope(z: Tensor) -> tuple[Tensor, Tensor]:
        side = torch.where(z > 0, -1.0, 1.0).double()  # 1: log F(x), −1: −log(1 − F(x)); both increase

        def tail(x: Tensor) -> tuple[Tensor, Tensor]:
            log_ndtr = torch.special.log_ndtr(side[:, None] * (x[:, None] - means) / stds)
            log_tail = torch.logsumexp(log_ndtr + log_weights, dim=1)
            return side * log_tail, (log_mixture_density(mixture, x) - log_tail).exp()

        goal = side * torch.special.log_ndtr(side * z)
        x, _ = _solve_increasing(tail, goal, torch.full_like(z, low), torch.full_like(z, high))
        return x, (PRIORS["gaussian"].log_density(z) - log_mixture_density(mixture, x)).exp()

    return value_and_slope


def _solve_increasing(f: Map, goal: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Return t with f(t) = goal and f′(t), (n,) each: Newton's method within brackets that shrink."""
    t = (low + high) / 2
    value, slope = f(t)
    for _ in range(_ITERATIONS):
        low, high = torch.where(value <= goal, t, low), torch.where(value >= goal, t, high)
        newton = t - (value - goal) / slope
        new = torch.where((newton > low) & (newton < high), newton, (low + high) / 2)
        moved = (new - t).abs() > _STILL * (1 + t.abs())
        t = new
        value, slope = f(t)
        if not moved.any():
            break
    return t, slope


class PushForward:
    """p_g, the density of x = G(z), exactly, by the change of variables on each monotone piece of G.

    p_g(x) = Σ_i p_z(z_i) / |G′(z_i)| over all z_i with G(z_i) = x

    Args:
        G: the map.
        prior: of z.

    Attributes:
        turning: (t,) the z at which G turns, increasing.
        breakpoints_z: where integrals over z must be split: p_g∘G or its derivatives may jump there.
        breakpoints_x: where integrals over x must be split.

    Raises:
        GancliError: G is constant on an interval that matters, so that p_g has no density, or not finite.
    """

    def __init__(self, G: Map, prior: Prior) -> None:
        self.G, self.prior = G, prior
        z = _moving_part(G, prior, torch.linspace(prior.low, prior.high, _GRID, dtype=torch.float64))
        z = torch.cat([z, *_closer_looks(G, z)]).unique()
        x, slope = G(z)
        self.turning = _sign_changes(G, z, slope)
        ends = torch.cat([z[:1], self.turning, z[-1:]])
        self._pieces = [torch.cat([a[None], z[(z > a) & (z < b)], b[None]]) for a, b in itertools.pairwise(ends)]
        self._values = [G(piece)[0] for piece in self._pieces]
        folds = G(ends)[0]
        preimages = [self._solve(i, folds[inside])[0] for i, inside in enumerate(self._covered(folds))]
        even = _even_along_the_curve(z, x)
        self.breakpoints_z = torch.cat([even, ends, *preimages])
        self.breakpoints_x = torch.cat([G(even)[0], folds])

    def log_density(self, x: Tensor) -> Tensor:
        """Return log p_g(x), (n,) float64; −∞ where G never gets."""
        return torch.logsumexp(self._terms(x), dim=0)

    def log_density_of_images(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return x = G(z) and log p_g(x), (n,) each; never −∞, since z itself is one of x's origins."""
        x, slope = self.G(z)
        own = torch.bucketize(z, self.turning)
        terms = self._terms(x, own)
        terms[own, torch.arange(len(z))] = self.prior.log_density(z) - slope.abs().log()
        return x, torch.logsumexp(terms, dim=0)

    def _terms(self, x: Tensor, leave_out: Tensor | None = None) -> Tensor:
        """Return log p_z(z_i)/|G′(z_i)| for each piece i, (pieces, n); −∞ where x is no value of the piece.

        With `leave_out`, (n,) int64, one piece for each x is not looked at.
        """
        terms = torch.full((len(self._pieces), len(x)), -math.inf, dtype=torch.float64)
        for i, covered in enumerate(self._covered(x)):
            inside = covered if leave_out is None else covered & (leave_out != i)
            z, slope = self._solve(i, x[inside])
            terms[i, inside] = self.prior.log_density(z) - slope.abs().log()
        return terms

    def _covered(self, x: Tensor) -> list[Tensor]:
        """Return for each piece which x (n,) lie strictly inside its range, as (n,) masks."""
        ends = [torch.stack([values[0], values[-1]]).sort().values for values in self._values]
        return [(x > low) & (x < high) for low, high in ends]

    def _solve(self, i: int, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the z on piece i with G(z) = x, and G′(z)."""
        sign = 1 if self._values[i][-1] > self._values[i][0] else -1

        def rising(z: Tensor) -> tuple[Tensor, Tensor]:
            value, slope = self.G(z)
            return sign * value, sign * slope

        # Rounding may leave a nearly flat stretch out of order; a running maximum puts it in order again.
        values = (sign * self._values[i]).cummax(0).values
        right = torch.searchsorted(values, sign * x).clamp(1, len(values) - 1)
        z, slope = _solve_increasing(rising, sign * x, self._pieces[i][right - 1], self._pieces[i][right])
        return z, sign * slope


def _moving_part(G: Map, prior: Prior, z: Tensor) -> Tensor:
    """Return the part of a grid on which G moves, without the far tails in which a network's units are saturated."""
    x, slope = G(z)
    if not torch.isfinite(x).all():
        raise GancliError("The generator's values are not finite; it has diverged.")
    flat = (slope[1:] == 0) & (slope[:-1] == 0)
    if flat.any():
        moving = (slope != 0).nonzero()[:, 0]
        first, last = (int(moving[0]), int(moving[-1])) if len(moving) else (len(z), 0)
        flat[:first], flat[last:] = True, True  # cells with one flat end go too: there log p_g has no bound
        mass = prior.log_density(z[:-1][flat]).exp().sum() * (z[1] - z[0])
        if mass > _NEGLIGIBLE or flat.all():
            where = float(z[:-1][flat].abs().min())
            raise GancliError(f"The generator is constant around |z| = {where:.4g}, so p_g has no density.")
        z = z[first : last + 1]
    return z


def _closer_looks(G: Map, z: Tensor) -> list[Tensor]:
    """Return finer grids around the local minima of |G′|, between which two changes of sign could hide."""
    size = G(z)[1].abs()
    lowest = ((size[1:-1] <= size[:-2]) & (size[1:-1] <= size[2:])).nonzero()[:, 0] + 1
    return [torch.linspace(float(z[i - 1]), float(z[i + 1]), _FINER, dtype=torch.float64) for i in lowest.tolist()]


def _sign_changes(G: Map, z: Tensor, slope: Tensor) -> Tensor:
    """Return the z between neighbours of a grid at which G′ changes sign, by bisection to the last digit."""
    positive = slope > 0
    left = (positive[1:] != positive[:-1]).nonzero()[:, 0]
    low, high, sign = z[left], z[left + 1], positive[left]
    for _ in range(60):
        middle = (low + high) / 2
        same = (G(middle)[1] > 0) == sign
        low, high = torch.where(same, middle, low), torch.where(same, high, middle)
    return (low + high) / 2


def _even_along_the_curve(z: Tensor, x: Tensor, count: int = 80) -> Tensor:
    """Return z at equal steps along the curve (z, G(z)): close together where G is flat in x or steep in z."""
    length = z.diff() / (z[-1] - z[0]) + x.diff().abs() / x.diff().abs().sum()
    along = torch.cat([torch.zeros(1, dtype=torch.float64), length.cumsum(0)])
    goal = torch.linspace(0, float(along[-1]), count, dtype=torch.float64)
    right = torch.searchsorted(along, goal).clamp(1, len(z) - 1)
    share = (goal - along[right - 1]) / (along[right] - along[right - 1])
    return z[right - 1] + share.clamp(0, 1) * (z[right] - z[right - 1])
