"""One iteration of either update order against a re-derivation in plain torch: parameters after the step."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from gancli.config import Config
from gancli.nets import Discriminator, Generator, initialise_network
from gancli.ops import native
from gancli.train import schedules
from gancli.train.algorithm1 import ITERATIONS, Game
from gancli.train.optimisers import Pylearn2Momentum, make_optimiser, set_schedule

SHAPE = (1, 3, 3)
LR = 0.3


def make_players(keep: float = 1.0) -> tuple[Generator, Discriminator]:
    G = Generator("dense 6 relu irange=0.5, dense out sigmoid irange=0.5", 4, SHAPE).double()
    D = Discriminator("maxout 5x3 irange=0.5, dense 1 sigmoid irange=0.5", SHAPE, keep_input=keep, keep_hidden=keep)
    D.double()
    rng = torch.Generator().manual_seed(1)
    initialise_network(G, rng)
    initialise_network(D, rng)
    D.share_rng(torch.Generator().manual_seed(2))
    return G, D


def make_game(keep: float = 1.0, **rules: object) -> Game:
    G, D = make_players(keep)
    plain = {"lr": LR, "momentum": 0.0}
    return Game(G, D, Pylearn2Momentum(G.parameters(), **plain), Pylearn2Momentum(D.parameters(), **plain), **rules)  # type: ignore[arg-type]


def sequence(values: list[Tensor]) -> Callable[[], Tensor]:
    iterator = iter(values)
    return lambda: next(iterator)


def noise(count: int) -> list[Tensor]:
    return list(torch.randn(count, 7, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3)))


def data(count: int) -> list[Tensor]:
    return list(torch.rand(count, 7, *SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(4)))


def judged_by(D: Discriminator, x: Tensor) -> Tensor:
    """D(x) written out: max over pieces, then the sigmoid of a linear unit."""
    first, last = D.weighted
    pieces = torch.einsum("bi,upi->bup", x.flatten(1), first.weight) + first.bias
    return torch.sigmoid(pieces.amax(dim=2) @ last.weight.T + last.bias)[:, 0]


def gradient_step(network: nn.Module, loss: Tensor) -> None:
    gradients = torch.autograd.grad(loss, list(network.parameters()))
    with torch.no_grad():
        for p, g in zip(network.parameters(), gradients, strict=True):
            p -= LR * g


def assert_same_weights(a: nn.Module, b: nn.Module) -> None:
    for (name, p), q in zip(a.named_parameters(), b.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-12, atol=1e-14, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("k", [1, 3])
def test_alternating_iteration_is_the_papers_box(k: int) -> None:
    game = make_game(k=k, loss="minimax", d_cost_factor=1.0)
    G, D = copy.deepcopy(game.G), copy.deepcopy(game.D)
    zs, xs = noise(k + 1), data(k)
    ITERATIONS["alternating"](game, sequence(zs), sequence(xs))
    for z, x in zip(zs, xs, strict=False):
        fake = G(z).detach()
        gradient_step(D, -(torch.log(judged_by(D, x)) + torch.log(1 - judged_by(D, fake))).mean())
    gradient_step(G, torch.log(1 - judged_by(D, G(zs[k]))).mean())
    assert_same_weights(game.D, D)
    assert_same_weights(game.G, G)


@pytest.mark.parametrize("k", [1, 2])
def test_simultaneous_iteration_takes_both_gradients_at_one_point(k: int) -> None:
    game = make_game(k=k, loss="non-saturating", d_cost_factor=0.5, generator_dropout="shared")
    G, D = copy.deepcopy(game.G), copy.deepcopy(game.D)
    zs, xs = noise(k), data(k)
    ITERATIONS["simultaneous"](game, sequence(zs), sequence(xs))

    def cost_d(z: Tensor, x: Tensor) -> Tensor:
        return -0.5 * (torch.log(judged_by(D, x)) + torch.log(1 - judged_by(D, G(z)))).mean()

    for z, x in zip(zs[:-1], xs[:-1], strict=True):
        gradient_step(D, cost_d(z, x))
    D_before = copy.deepcopy(D)
    gradient_step(D, cost_d(zs[-1], xs[-1]))
    gradient_step(G, -torch.log(judged_by(D_before, G(zs[-1]))).mean())
    assert_same_weights(game.D, D)
    assert_same_weights(game.G, G)


def test_shared_dropout_uses_the_discriminator_masks() -> None:
    game = make_game(keep=0.5, generator_dropout="shared")
    G, D = copy.deepcopy(game.G), copy.deepcopy(game.D)
    (z,), (x,) = noise(1), data(1)
    ITERATIONS["simultaneous"](game, sequence([z]), sequence([x]))
    D.share_rng(torch.Generator().manual_seed(2))  # the same masks again
    logits = D(torch.cat([x, G(z)]))[len(x) :]
    gradient_step(G, -torch.log(torch.sigmoid(logits)).mean())
    assert_same_weights(game.G, G)


@pytest.mark.parametrize("updates", ["alternating", "simultaneous"])
def test_generator_dropout_off_gives_the_generator_the_whole_discriminator(updates: str) -> None:
    game = make_game(keep=0.5, generator_dropout="off")
    G, D = copy.deepcopy(game.G), copy.deepcopy(game.D)
    zs, (x,) = noise(2), data(1)
    ITERATIONS[updates](game, sequence(zs), sequence([x]))
    judge = copy.deepcopy(game.D if updates == "alternating" else D).eval()
    z = zs[1] if updates == "alternating" else zs[0]
    gradient_step(G, -torch.log(torch.sigmoid(judge(G(z)))).mean())
    assert_same_weights(game.G, G)
    assert game.D.training


def test_generator_dropout_fresh_draws_other_masks_than_shared() -> None:
    after = {}
    for kind in ("shared", "fresh"):
        game = make_game(keep=0.5, generator_dropout=kind)
        ITERATIONS["simultaneous"](game, sequence(noise(1)), sequence(data(1)))
        after[kind] = game.G.weighted[0].weight.detach().clone()
    assert not torch.allclose(after["shared"], after["fresh"])


def test_column_norms_are_bounded_after_the_update() -> None:
    game = make_game(max_column_norm=0.4)
    ITERATIONS["alternating"](game, sequence(noise(2)), sequence(data(1)))
    for network in (game.G, game.D):
        for layer in network.weighted:
            assert layer.weight.norm(dim=-1).max().item() <= 0.4 + 1e-9


def test_gradient_norms_are_bounded_and_smaller_ones_left_alone() -> None:
    steps = {}
    for bound in (None, 1e-3, 1e3):
        game = make_game(max_gradient_norm=bound)
        before = torch.cat([p.detach().flatten().clone() for p in game.D.parameters()])
        ITERATIONS["simultaneous"](game, sequence(noise(1)), sequence(data(1)))
        steps[bound] = before - torch.cat([p.detach().flatten() for p in game.D.parameters()])
    assert steps[1e-3].norm().item() == pytest.approx(LR * 1e-3, rel=1e-3)  # torch divides by norm + 1e-6
    torch.testing.assert_close(steps[1e-3] / steps[1e-3].norm(), steps[None] / steps[None].norm())
    torch.testing.assert_close(steps[1e3], steps[None], rtol=0, atol=0)


def trajectory(rule: torch.optim.Optimizer, p: nn.Parameter, rates: list[float], momenta: list[float]) -> list[float]:
    values = []
    for step, (rate, momentum) in enumerate(zip(rates, momenta, strict=True)):
        set_schedule(rule, rate, momentum)
        p.grad = torch.tensor([1.0 + step], dtype=torch.float64)
        rule.step()
        values.append(p.item())
    return values


def test_momentum_forms_follow_their_recurrences_and_differ_while_the_rate_decays() -> None:
    rates, momenta = [0.1, 0.05, 0.025], [0.5, 0.6, 0.7]
    expected = {"pylearn2": [], "torch": []}
    theta, v = 1.0, 0.0
    for g, (rate, m) in enumerate(zip(rates, momenta, strict=True), start=1):
        v = m * v - rate * g
        theta += v
        expected["pylearn2"].append(theta)
    theta, v = 1.0, 0.0
    for g, (rate, m) in enumerate(zip(rates, momenta, strict=True), start=1):
        v = m * v + g
        theta -= rate * v
        expected["torch"].append(theta)
    for form, values in expected.items():
        network = nn.Module()
        network.p = nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
        rule = make_optimiser(Config(momentum_form=form), network)
        assert trajectory(rule, network.p, rates, momenta) == pytest.approx(values, abs=1e-12)
    assert expected["pylearn2"] != pytest.approx(expected["torch"], abs=1e-3)


def test_schedules_are_those_of_the_released_code() -> None:
    config = Config(lr=0.1)
    assert schedules.learning_rate(config, 0, per_epoch=500) == 0.1
    assert schedules.learning_rate(config, 500, per_epoch=500) == pytest.approx(0.1 / 1.000004**500, rel=1e-12)
    assert schedules.learning_rate(config, 10_000_000, per_epoch=500) == 1e-6
    annealed = Config(lr=0.1, lr_decay=1.0, anneal_epochs=40)
    assert schedules.learning_rate(annealed, 0, per_epoch=500) == 0.1
    assert schedules.learning_rate(annealed, 15_000, per_epoch=500) == pytest.approx(0.025)
    assert schedules.learning_rate(annealed, 50_000, per_epoch=500) == 1e-6
    assert schedules.momentum(config, 1) == 0.5
    assert schedules.momentum(config, 250) == pytest.approx(0.7)
    assert schedules.momentum(config, 400) == pytest.approx(0.7)
    assert schedules.momentum(config, 125) == pytest.approx(0.5 + 0.2 * 124 / 249)
    assert schedules.learning_rate(Config(lr_decay=2.0), 1024, per_epoch=500) == 1e-6  # 2^1024 is beyond a double
    # a rate below the floor is the user's word
    assert schedules.learning_rate(Config(lr=1e-8), 5, per_epoch=500) <= 1e-8


@pytest.mark.parametrize("backend", ["torch", "native"])
@pytest.mark.parametrize("updates", ["alternating", "simultaneous"])
def test_iterations_in_single_precision_follow_those_in_double(
    monkeypatch: pytest.MonkeyPatch, updates: str, backend: str
) -> None:
    """Several, since from the second on gradients are written over the old ones."""
    if backend == "native" and native.load("_cpu")[0] is None:
        pytest.skip("no native module")
    rules = {"loss": "non-saturating", "generator_dropout": "shared" if updates == "simultaneous" else "fresh"}
    exact, single = make_game(**rules), make_game(**rules)
    single.G.float()
    single.D.float()
    zs, xs = noise(6), data(3)
    draw_z, draw_x = sequence(zs), sequence(xs)
    for _ in range(3):
        ITERATIONS[updates](exact, draw_z, draw_x)
    monkeypatch.setenv("GANCLI_BACKEND", backend)
    draw_z, draw_x = sequence([z.float() for z in zs]), sequence([x.float() for x in xs])
    for _ in range(3):
        ITERATIONS[updates](single, draw_z, draw_x)
    for players in ("G", "D"):
        for p, q in zip(getattr(exact, players).parameters(), getattr(single, players).parameters(), strict=True):
            torch.testing.assert_close(q.double(), p, rtol=1e-5, atol=1e-5)


def test_gradients_stay_with_their_weights_after_an_iteration() -> None:
    game = make_game(generator_dropout="shared")
    for player in (game.G, game.D):
        player.float()
    zs, xs = [z.float() for z in noise(2)], [x.float() for x in data(2)]
    for z, x in zip(zs, xs, strict=True):
        G, D = copy.deepcopy(game.G), copy.deepcopy(game.D)
        ITERATIONS["simultaneous"](game, sequence([z]), sequence([x]))
        loss = -torch.log(torch.sigmoid(D(G(z)))).mean()
        expected = torch.autograd.grad(loss, list(G.parameters()))
        for p, g in zip(game.G.parameters(), expected, strict=True):
            torch.testing.assert_close(p.grad, g, rtol=1e-4, atol=1e-6)
