"""Integrals in double precision, by Gauss–Legendre panels that forgive singularities at their ends."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

ORDER = 24  # nodes per panel
_CLOSEST = 1e-12  # breakpoints nearer to each other than this share of the whole are one


@dataclass(frozen=True)
class Rule:
    """A quadrature rule: ∫ f ≈ Σ_i w_i f(t_i).

    Attributes:
        nodes: (n,) float64, increasing.
        weights: (n,) float64, positive.
    """

    nodes: Tensor
    weights: Tensor

    def integrate(self, values: Tensor) -> float:
        """Return the integral of a function from its values at the nodes, (n,)."""
        return float(self.weights @ values)


def panel_rule(breakpoints: Tensor, order: int = ORDER) -> Rule:
    """Return a rule over the panels between breakpoints.

    Each panel [a, b] is mapped by t = a + (b − a)·φ(u), φ(u) = u⁴(35 − 84u + 70u² − 20u³), whose derivative vanishes
    like u³ at both ends: an inverse root there becomes smooth and a logarithm nearly so. A density that G folds has
    just these singularities at G's turning points, which must be among the breakpoints.

    Args:
        breakpoints: (b,) float64, in any order; at least two different ones.
        order: nodes per panel.
    """
    t = torch.unique(breakpoints.to(torch.float64))
    keep = torch.ones_like(t, dtype=torch.bool)
    keep[1:] = t.diff() > _CLOSEST * (t[-1] - t[0])
    edges = t[keep]
    nodes, weights = np.polynomial.legendre.leggauss(order)
    u = torch.from_numpy((nodes + 1) / 2)
    phi = u**4 * (35 - 84 * u + 70 * u**2 - 20 * u**3)
    slope = 140 * u**3 * (1 - u) ** 3
    left, width = edges[:-1, None], edges.diff()[:, None]
    # From the right end where that is nearer, so that the distance to a singularity there keeps its digits.
    right = edges[1:, None] - width * phi.flip(0)
    return Rule(
        torch.where(u < 0.5, left + width * phi, right).flatten(),
        (width * slope * torch.from_numpy(weights / 2)).flatten(),
    )
