"""One iteration as the trainer plays it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from gancli.data.preprocess import Preprocessing
from gancli.presets import resolve
from gancli.train.minibatches import Minibatches
from gancli.train.seeds import make_rng
from gancli.train.setup import make_game
from gancli.train.step import Step

CPU, SHAPE = torch.device("cpu"), (1, 4, 4)


def make_step(**changes: Any) -> Step:
    settings = {
        "generator": "dense 8 relu irange=0.5, dense out sigmoid irange=0.5",
        "discriminator": "maxout 6x2 irange=0.5, dense 1 sigmoid irange=0.5",
        "noise_dim": 5,
        "batch_size": 10,
        **changes,
    }
    config = resolve("mnist", "digits", settings)
    train = torch.randint(0, 256, (40, *SHAPE), dtype=torch.uint8, generator=torch.Generator().manual_seed(5))
    rng = make_rng(1, "play", CPU)
    game = make_game(config, SHAPE, None, CPU)
    game.D.share_rng(rng)
    return Step(config, game, Minibatches(train, Preprocessing("scale"), config.batch_size, 1, CPU), rng)


def weights(step: Step) -> list[Tensor]:
    return [torch.cat([p.detach().flatten() for p in player.parameters()]) for player in (step.game.G, step.game.D)]


@pytest.mark.parametrize("updates", ["simultaneous", "alternating"])
def test_the_bound_on_gradients_begins_after_so_many_iterations(updates: str) -> None:
    """Without momentum an update is as long as the rate times the gradient."""
    free, late = (
        make_step(updates=updates, **bound) for bound in ({}, {"max_gradient_norm": 1e-3, "max_gradient_norm_from": 3})
    )
    for number in range(3):
        assert torch.equal(free(number, 0.1, 0.0), late(number, 0.1, 0.0))
    before = weights(late)
    for one, other in zip(before, weights(free), strict=True):
        assert torch.equal(one, other)
    late(3, 0.1, 0.0)
    free(3, 0.1, 0.0)
    for begun, bounded, unbounded in zip(before, weights(late), weights(free), strict=True):
        assert (bounded - begun).norm().item() == pytest.approx(0.1 * 1e-3, rel=2e-3)  # torch divides by norm + 1e-6
        assert (unbounded - begun).norm().item() > 0.1 * 2e-3
