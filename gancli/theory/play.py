"""Small games in one and two dimensions, by the same Algorithm 1 that trains on images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from gancli.config import Config
from gancli.nets.noise import draw_noise
from gancli.theory.targets import Line, Plane
from gancli.train.algorithm1 import ITERATIONS, Game
from gancli.train.minibatches import Minibatches
from gancli.train.optimisers import set_schedule
from gancli.train.schedules import learning_rate, momentum
from gancli.train.seeds import make_rng
from gancli.train.setup import make_game

_CPU = torch.device("cpu")  # networks this small wait longer for a GPU than they compute
_SHARED: dict[str, Any] = {
    "preprocessing": "none",
    "noise": "gaussian",
    "keep_input": 1.0,
    "keep_hidden": 1.0,
    "updates": "alternating",
    "d_cost_factor": 1.0,
    "optimizer": "adam",
    "adam_beta1": 0.5,
    "batch_size": 512,
    "lr_min": 1e-5,
}


def game_config(
    target: Line | Plane,
    *,
    loss: str,
    k: int | None = None,
    steps: int | None = None,
    seed: int | None = None,
) -> Config:
    """Return the configuration of a game; what is None comes from its target's rules."""
    rules = target.rules
    return Config(
        **_SHARED,
        dataset="gaussian",
        preset="gaussian",
        generator=rules.generator,
        discriminator=rules.discriminator,
        noise_dim=target.noise_dim,
        lr=rules.lr,
        lr_decay=rules.lr_decay,
        loss=loss,
        k=rules.k if k is None else k,
        steps=rules.steps if steps is None else steps,
        seed=rules.seed if seed is None else seed,
    )


class Play:
    """A game in progress.

    Args:
        target: the data.
        config: everything else.

    Attributes:
        game: the two players.
        step: iterations played.
    """

    def __init__(self, target: Line | Plane, config: Config) -> None:
        train = target.draw(config.seed)
        channels, height, width = train.shape[1:]
        self.config, self.step = config, 0
        self.game = make_game(config, (channels, height, width), None, _CPU)
        self._batches = Minibatches(train, lambda raw: raw, config.batch_size, config.seed, _CPU)
        self._drawn = 0
        self._rng = make_rng(config.seed, "play")

    def iterate(self) -> None:
        """Play one iteration of Algorithm 1."""
        rate = self._rate()
        self._set_rates(self.game, rate, rate)
        ITERATIONS[self.config.updates](self.game, self._sample_z, self._sample_x)
        self.step += 1

    def descend_G(self, game: Game, share: float = 1.0) -> None:  # noqa: N802  # the player's name
        """Let the generator of another game take one step against its D, which stays, at a share of the rate now."""
        game = replace(game, k=1, update_D=torch.optim.SGD(game.D.parameters(), lr=0.0))
        self._set_rates(game, share * self._rate(), 0.0)
        ITERATIONS["alternating"](game, self._sample_z, self._sample_x)

    def _rate(self) -> float:
        return learning_rate(self.config, self.step, self._batches.per_pass)

    def _set_rates(self, game: Game, rate_G: float, rate_D: float) -> None:
        for rule, rate in ((game.update_G, rate_G), (game.update_D, rate_D)):
            set_schedule(rule, rate, momentum(self.config, 1))

    def run(self, moments: Sequence[int], report: Callable[[int], None]) -> None:
        """Play until the last of some moments, counted in iterations and increasing, with a report at each."""
        for moment in moments:
            while self.step < moment:
                self.iterate()
            report(moment)

    def _sample_z(self) -> Tensor:
        return draw_noise(self.config.noise, self.config.batch_size, self.game.G.noise_dim, self._rng)

    def _sample_x(self) -> Tensor:
        self._drawn += 1
        return self._batches.draw(self._drawn - 1)
