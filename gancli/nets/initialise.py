"""Initial weights as the released configurations draw them."""

from __future__ import annotations

import torch
from torch import Tensor

# Keeps the logit of an always-black or always-white pixel finite.
_LEAST_PROBABILITY = 1e-7


@torch.no_grad()
def uniform_(weight: Tensor, irange: float, rng: torch.Generator) -> None:
    """Fill `weight` uniformly from [-irange, irange]; on the CPU, so that one seed means the same net anywhere."""
    weight.copy_(torch.empty(weight.shape, dtype=weight.dtype).uniform_(-irange, irange, generator=rng))


@torch.no_grad()
def sparse_(weight: Tensor, nonzero: int, rng: torch.Generator) -> None:
    """Give each unit (row) of `weight` (units, in) `nonzero` weights from N(0, 1) at random inputs, zero elsewhere.

    Source: tfd_pretrain/pretrain.yaml, sparse_init: 100.
    """
    units, inputs = weight.shape
    nonzero = min(nonzero, inputs)
    positions = torch.rand(units, inputs, generator=rng).topk(nonzero, dim=1).indices
    values = torch.randn(units, nonzero, generator=rng)
    weight.copy_(torch.zeros(units, inputs).scatter_(1, positions, values))


def marginal_bias(mean: Tensor) -> Tensor:
    """Return the bias with which a sigmoid layer without input gives the mean of the data.

    bias = log(mean / (1 − mean))

    Args:
        mean: (units,) the training mean of each pixel, in [0, 1].

    Returns:
        (units,) float32.

    Source: mnist.yaml, init_sigmoid_bias_from_marginals.
    """
    return torch.logit(mean.double(), eps=_LEAST_PROBABILITY).float()


@torch.no_grad()
def bound_column_norm_(weight: Tensor, largest: float, incoming: tuple[int, ...]) -> None:
    """Scale down, in place, every unit whose incoming weights exceed an L2 norm.

    Args:
        weight: any shape; changed in place.
        largest: the norm that no unit may exceed.
        incoming: the dimensions along which one unit's incoming weights lie.

    Source: max_col_norm of the released configurations.
    """
    norms = torch.linalg.vector_norm(weight, dim=incoming, keepdim=True)
    weight.mul_(norms.clamp(max=largest) / norms.clamp(min=1e-7))
