"""Why the loss matters early: the generator's gradient under either loss while D is sure, unsure, or fooled."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gancli.ops import gradients
from gancli.train.algorithm1 import Game
from gancli.train.losses import generator_loss

LOSSES = ("minimax", "non-saturating")
_LOGITS = 12.0  # D's mean logit on samples is moved from −12 to 12: D(G(z)) from 6e−6 to 1 − 6e−6
_POINTS = 49


@dataclass(frozen=True)
class Saturation:
    """Gradient norms of G's two losses over what D says of its samples.

    Attributes:
        d_of_g: mean of D(G(z)), increasing.
        norms: for each loss, the L2 norm of its gradient for all of G's weights.
    """

    d_of_g: list[float]
    norms: dict[str, list[float]]


def measure_saturation(game: Game, z: Tensor) -> Saturation:
    """Measure the generator's gradient while D's bias is moved, so that D(G(z)) runs from 0 to 1.

    Args:
        game: the players at one moment; neither is changed.
        z: (m, noise_dim) float, the same for all points.

    Source: section 3 of the paper: log(1 − D(G(z))) saturates where D rejects samples with confidence.
    """
    G, D = copy.deepcopy(game.G).double(), copy.deepcopy(game.D).double().eval()
    logits = D(G(z.double()))
    offsets = torch.linspace(-_LOGITS, _LOGITS, _POINTS, dtype=torch.float64) - logits.detach().mean()
    rows = [(float((logits.detach() + offset).sigmoid().mean()), *_norms(G, logits + offset)) for offset in offsets]
    d_of_g, *norms = (list(column) for column in zip(*rows, strict=True))
    return Saturation(d_of_g, dict(zip(LOSSES, norms, strict=True)))


def _norms(G: torch.nn.Module, logits: Tensor) -> Sequence[float]:
    """Return the norm of G's gradient under either loss."""
    found = []
    for kind in LOSSES:
        parts = gradients(generator_loss(logits, kind), list(G.parameters()), retain_graph=True)
        found.append(float(torch.cat([part.flatten() for part in parts]).norm()))
    return found
