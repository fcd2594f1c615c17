"""Signs that the game is lost although every number is finite.

D wins outright, G's samples are all alike, or the data lie where G's last layer cannot reach.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from gancli.data.preprocess import Preprocessing
from gancli.nets.networks import Generator
from gancli.train.algorithm1 import Game
from gancli.train.shared_momentum import SharedMomentum

_EXAMPLES = 1000  # training examples whose variance stands for the data's
# D tells data and samples apart when its means over an epoch lie beyond these, ...
_SURE, _UNSURE = 0.99, 0.01
# ... and G hardly learns when all steps of an epoch together could not move its weights by this share of their norm.
_SMALL_MOVE = 0.01
# Samples are all alike below this share of the data's variance. G begins there, near the mean image: the paper's MNIST
# run has 0.004 after its first 500 iterations and 0.9 after 1,000. So it is said only once G had left it, or late.
_ALIKE, _VARIED, _LATE = 0.05, 0.2, 2000
# What a last layer can put out, by its activation.
_REACH = {"sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0), "relu": (0.0, math.inf)}


class Health:
    """Looks at the game once an epoch.

    Attributes:
        largest_variance: the largest share of the data's variance that the samples have had at an epoch's end.
    """

    def __init__(self, preprocessing: Preprocessing, train: Tensor) -> None:
        examples = preprocessing(train[:: -(-len(train) // _EXAMPLES)])
        self._data_variance = _total_variance(examples)
        self._bytes = preprocessing.kind == "none" and train.dtype == torch.uint8
        self._data_range = float(examples.min()), float(examples.max())
        self.largest_variance = 0.0

    def warnings(self, game: Game, means: Mapping[str, float], samples: Tensor, *, step: int, steps: int) -> list[str]:
        """Return what is wrong, a sentence each; usually nothing.

        Args:
            game: after an iteration, with G's last gradient in place.
            means: the epoch's, by the names of Monitor.
            samples: (n, ...) of G, in the space of the networks.
            step: iterations done.
            steps: iterations of an epoch.
        """
        found = []
        if means["d_x"] > _SURE and means["d_gz"] < _UNSURE and _move(game, steps) < _SMALL_MOVE:
            other = "--loss non-saturating, " if game.loss == "minimax" else ""
            found.append(
                f"D tells data and samples apart with certainty (D(x) {means['d_x']:.4f}, D(G(z)) {means['d_gz']:.1e}) "
                f"and G's gradient vanishes, so G no longer learns: try {other}a lower --lr or a smaller --k."
            )
        share = _total_variance(samples) / self._data_variance if self._data_variance else 1.0
        self.largest_variance = max(self.largest_variance, share)
        if share < _ALIKE and (self.largest_variance > _VARIED or step >= _LATE):
            found.append(
                f"G's samples are nearly all alike (their variance is {share:.2g} of the data's), as if G had "
                "collapsed: try a lower --lr or another --seed."
            )
        return found + (self._out_of_reach(game.G) if step <= steps else [])

    def _out_of_reach(self, G: Generator) -> list[str]:
        """Return a sentence if G's last layer cannot put out what the data hold, or hardly: pixels up to 255."""
        activation, (low, high) = G.text[-1].activation, self._data_range
        if self._bytes:
            return [f"The networks see pixels from {low:g} to {high:g} (--preprocessing none): try scale, or gcn."]
        least, most = _REACH.get(activation, (-math.inf, math.inf))
        if least <= low and high <= most:
            return []
        return [
            f"G ends in a {activation}, which puts out {least:g} to {most:g}, the data range from {low:.4g} to "
            f"{high:.4g}: bring the data there, or end --generator in 'dense out linear'."
        ]


def _move(game: Game, steps: int) -> float:
    """Return the share of their norm by which so many steps like the last could move G's weights at most.

    Momentum m adds steps up to 1 / (1 − m) of them. Adam's steps are as long for small gradients as for large ones, up
    to lr for each weight.
    """
    parameters = list(game.G.parameters())
    gradient = _norm(p.grad for p in parameters if p.grad is not None)
    weights = _norm(p.detach() for p in parameters)
    if isinstance(game.update_G, SharedMomentum):  # which adds the ranks' shares of the gradient up by itself
        gradient /= game.share
    if isinstance(game.update_G, torch.optim.Adam):
        gradient = math.sqrt(sum(p.numel() for p in parameters)) if gradient else 0.0
    (group,) = game.update_G.param_groups
    if not weights:
        return 0.0
    fades = 1 - float(group.get("momentum", 0.0))
    return float(group["lr"]) * gradient / fades * steps / weights if fades else math.inf


def _norm(tensors: Iterable[Tensor]) -> float:
    return float(torch.stack([torch.linalg.vector_norm(tensor) for tensor in tensors]).norm())


def _total_variance(x: Tensor) -> float:
    """Return the variance over examples, summed over all values of an example; x (n, ...)."""
    return float(x.flatten(1).var(dim=0, correction=0).sum())
