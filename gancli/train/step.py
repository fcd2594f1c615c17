"""One iteration as the trainer plays it: schedules, minibatches and noise around Algorithm 1."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gancli.config import Config
from gancli.nets.noise import draw_noise
from gancli.train.algorithm1 import ITERATIONS, Game, Sampler
from gancli.train.minibatches import Minibatches
from gancli.train.monitor import shown
from gancli.train.optimisers import set_schedule

# Plays iteration number n (from 0) at a learning rate and a momentum; returns what is shown of it (monitor.py).
Play = Callable[[int, float, float], Tensor]


@dataclass(frozen=True)
class Step:
    """Plays iterations, operation by operation.

    Attributes:
        config: names the noise and the order of updates.
        game: the players and the rules.
        data: the minibatches.
        rng: source of noise and dropout, on the device.
    """

    config: Config
    game: Game
    data: Minibatches
    rng: torch.Generator

    def __call__(self, number: int, lr: float, momentum: float) -> Tensor:
        """Play iteration `number`, on the minibatches that are its turn."""
        self.set_schedule(lr, momentum)
        positions = iter(self.positions(number))
        return self.play(lambda: self.data.draw(next(positions)), bounded=self.bounded(number))

    def set_schedule(self, lr: float, momentum: float) -> None:
        """Set both rules' learning rate and momentum."""
        for rule in (self.game.update_G, self.game.update_D):
            set_schedule(rule, lr, momentum)

    def positions(self, number: int) -> range:
        """Return the positions of an iteration's k minibatches since the start of training."""
        return range(self.game.k * number, self.game.k * (number + 1))

    def bounded(self, number: int) -> bool:
        """Say whether the bound on gradients, where the game has one, acts in an iteration."""
        return number >= self.config.max_gradient_norm_from

    def play(self, sample_x: Sampler, *, bounded: bool) -> Tensor:
        """Play one iteration on minibatches from `sample_x`; returns what is shown of it, (4,)."""
        game = self.game if bounded else replace(self.game, max_gradient_norm=None)
        return shown(ITERATIONS[self.config.updates](game, self._sample_z, sample_x))

    def _sample_z(self) -> Tensor:
        return draw_noise(self.config.noise, self.data.own_size, self.config.noise_dim, self.rng)
