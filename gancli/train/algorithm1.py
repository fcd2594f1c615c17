"""Algorithm 1 of the paper, and the simultaneous update of the released code.

The letters are the paper's: G, D, x, z, k, m. One call is one training iteration; data order, noise, schedules,
devices and files are other modules' business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from gancli.nets.networks import Discriminator, Generator
from gancli.ops import bound_gradient_norm_, gradients
from gancli.train.losses import discriminator_loss, generator_loss

Sampler = Callable[[], Tensor]  # draws a minibatch of m
Gradients = tuple[Tensor, ...]  # of one player's weights, in the order of its parameters


@dataclass(frozen=True)
class Game:
    """The two players and the rules they play by.

    Attributes:
        G: generator.
        D: discriminator, which gives logits.
        update_G: G's gradient rule.
        update_D: D's gradient rule.
        k: discriminator steps per iteration.
        loss: G's loss, "minimax" or "non-saturating".
        d_cost_factor: factor on D's loss, 1 in the paper.
        generator_dropout: dropout in D for G's gradient: "shared", "fresh" or "off".
        max_column_norm: bound on the norm of each unit's incoming weights, or None.
        max_gradient_norm: bound on the norm of a network's whole gradient, or None.
        share: what the losses here count for, where several ranks of a job play this game with a part of m each.
        sum_gradients: what becomes of a player's gradients before their use: their sums over these ranks.
    """

    G: Generator
    D: Discriminator
    update_G: torch.optim.Optimizer
    update_D: torch.optim.Optimizer
    k: int = 1
    loss: str = "non-saturating"
    d_cost_factor: float = 1.0
    generator_dropout: str = "fresh"
    max_column_norm: float | None = None
    max_gradient_norm: float | None = None
    share: float = 1.0
    sum_gradients: Callable[[torch.nn.Module, Gradients], Gradients] = lambda player, gradients: gradients


@dataclass(frozen=True)
class Iteration:
    """What one iteration saw; tensors, so that nothing waits for the device."""

    loss_d: Tensor  # scalar, nats
    loss_g: Tensor  # scalar, nats
    real: Tensor  # (m,) logits of D on data, in the last discriminator step
    fake: Tensor  # (m,) logits of D on samples, likewise


def alternating(game: Game, sample_z: Sampler, sample_x: Sampler) -> Iteration:
    """Train for one iteration of Algorithm 1: k discriminator steps, then a generator step on fresh noise."""
    for _ in range(game.k):
        loss_d, real, fake = _discriminator_step(game, sample_z(), sample_x())
    z = sample_z()
    with _dropout(game.D, game.generator_dropout != "off"):
        loss_g = generator_loss(game.D(game.G(z)), game.loss)
    _descend(game, game.G, game.update_G, _gradients(game, loss_g, game.G))
    return Iteration(loss_d.detach(), loss_g.detach(), real.detach(), fake.detach())


def simultaneous(game: Game, sample_z: Sampler, sample_x: Sampler) -> Iteration:
    """Train for one iteration as the released code does: both gradients at one point, then both updates.

    G's gradient uses the very samples and, with generator_dropout "shared", the very dropout masks of D's gradient.
    With k > 1, D alone takes the first k − 1 steps.

    Source: AdversaryCost2.get_gradients of the released code.
    """
    for _ in range(game.k - 1):
        _discriminator_step(game, sample_z(), sample_x())
    z, x = sample_z(), sample_x()
    x_g = game.G(z)
    real, fake = _judge(game.D, x, x_g)
    loss_d = discriminator_loss(real, fake, game.d_cost_factor)
    seen_by_g = fake
    if game.generator_dropout != "shared":
        with _dropout(game.D, game.generator_dropout != "off"):
            seen_by_g = game.D(x_g)
    loss_g = generator_loss(seen_by_g, game.loss)
    gradients_d = _gradients(game, loss_d, game.D, retain_graph=True)
    gradients_g = _gradients(game, loss_g, game.G)
    _descend(game, game.D, game.update_D, gradients_d)
    _descend(game, game.G, game.update_G, gradients_g)
    return Iteration(loss_d.detach(), loss_g.detach(), real.detach(), fake.detach())


ITERATIONS = {"alternating": alternating, "simultaneous": simultaneous}


def _discriminator_step(game: Game, z: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Update D by ascending its stochastic gradient of the value function."""
    with torch.no_grad():
        x_g = game.G(z)
    real, fake = _judge(game.D, x, x_g)
    loss_d = discriminator_loss(real, fake, game.d_cost_factor)
    _descend(game, game.D, game.update_D, _gradients(game, loss_d, game.D))
    return loss_d, real, fake


def _judge(D: Discriminator, x: Tensor, x_g: Tensor) -> tuple[Tensor, Tensor]:
    """Return D's logits on data and on samples, from one pass over both: larger matrix products, fewer calls."""
    logits = D(torch.cat([x, x_g]))
    return logits[: len(x)], logits[len(x) :]


def _gradients(game: Game, loss: Tensor, player: torch.nn.Module, *, retain_graph: bool = False) -> Gradients:
    """Return the gradient of `loss` for one player's weights only."""
    return gradients(loss * game.share, list(player.parameters()), retain_graph=retain_graph, reuse=True)


def _descend(game: Game, player: Generator | Discriminator, rule: torch.optim.Optimizer, gradients: Gradients) -> None:
    """Apply one player's gradient rule, between the bounds on its gradient and on its weights."""
    for parameter, gradient in zip(player.parameters(), game.sum_gradients(player, gradients), strict=True):
        parameter.grad = gradient
    if game.max_gradient_norm is not None:
        bound_gradient_norm_(list(player.parameters()), game.max_gradient_norm)
    rule.step()
    if game.max_column_norm is not None:
        for layer in player.weighted:
            layer.bound_column_norm_(game.max_column_norm)


@contextmanager
def _dropout(D: Discriminator, on: bool) -> Iterator[None]:
    before = D.training
    D.train(on and before)
    try:
        yield
    finally:
        D.train(before)
