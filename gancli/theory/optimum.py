"""D trained to its optimum for a fixed G, without sampling noise: V(D, G) ascended on the quadrature's own points."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor

from gancli.nets.networks import Discriminator
from gancli.theory.divergences import Comparison

_ITERATIONS = 150
_HISTORY = 20


def logit_of(D: Discriminator) -> Callable[[Tensor], Tensor]:
    """Return a discriminator of single numbers as a function (n,) -> logits (n,) in double precision."""
    exact = copy.deepcopy(D).double().eval().requires_grad_(False)
    return lambda x: exact(x[:, None, None, None])


def train_to_optimum(D: Discriminator, comparison: Comparison, iterations: int = _ITERATIONS) -> Discriminator:
    """Return a copy of D, in double precision, whose V(D, G) a quasi-Newton method has raised as far as it goes.

    Args:
        D: where to start.
        comparison: p_data and the p_g of the fixed G.
        iterations: of L-BFGS.

    Source: Proposition 1, and the inner loop of Algorithm 1 with k → ∞.
    """
    D = copy.deepcopy(D).double().eval()
    points = torch.cat([comparison.x, comparison.x_g])[:, None, None, None]
    split = len(comparison.x)
    rule = torch.optim.LBFGS(
        D.parameters(),
        max_iter=iterations,
        max_eval=2 * iterations,
        history_size=_HISTORY,
        tolerance_grad=1e-9,
        tolerance_change=1e-13,
        line_search_fn="strong_wolfe",
    )

    def descend() -> Tensor:
        rule.zero_grad()
        logits = D(points)
        loss = -comparison.value_of(logits[:split], logits[split:])
        loss.backward()
        return loss

    rule.step(descend)
    return D
