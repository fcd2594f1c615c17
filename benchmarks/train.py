"""The training step of a preset, whole, beside the same step in plain torch, eager and compiled."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click
import torch
from rich.console import Console
from torch import Tensor, nn

from benchmarks.common import Contender, give_out, interleave, machine, machine_in_words, make_table
from gancli import presets
from gancli.config import Config
from gancli.data.preprocess import Preprocessing
from gancli.nets.noise import draw_noise
from gancli.ranks import ALONE, Ranks
from gancli.train.algorithm1 import ITERATIONS, Game
from gancli.train.minibatches import Minibatches
from gancli.train.monitor import Monitor, shown
from gancli.train.optimisers import set_schedule
from gancli.train.setup import make_game

SHAPES = {"mnist": (1, 28, 28), "cifar10": (3, 32, 32)}
CPU = torch.device("cpu")
EXAMPLES = 5_000
LR, MOMENTUM = 0.1, 0.5
# Largest error of a network's gradient that may be timed, relative to its norm. Sums agree to 1e-6, but where two
# pieces are equal up to rounding, a row may go through the other one: one of 200 × 3,200 parts of CIFAR-10's D, 1e-3.
LARGEST_ERROR = 5e-3


# ---- plain torch: what a careful user writes today -------------------------------------------------------------------


class PlainMaxout(nn.Module):
    """nn.Linear to units × pieces, then max."""

    def __init__(self, inputs: int, units: int, pieces: int) -> None:
        super().__init__()
        self.linear, self.units, self.pieces = nn.Linear(inputs, units * pieces), units, pieces

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, inputs) to (batch, units)."""
        return self.linear(x).view(-1, self.units, self.pieces).max(dim=2).values


def plain_networks(config: Config, values: int) -> tuple[nn.Sequential, nn.Sequential]:
    """Build the configuration's networks from torch's own modules."""
    activations = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "linear": nn.Identity}
    G, D, inputs = nn.Sequential(), nn.Sequential(), config.noise_dim
    for text in config.generator.split(", "):
        _, size, activation, *_ = text.split()
        units = values if size == "out" else int(size)
        G.extend([nn.Linear(inputs, units), activations[activation]()])
        inputs = units
    inputs = values
    for number, text in enumerate(config.discriminator.split(", ")):
        kind, size, *_ = text.split()
        D.append(nn.Dropout(1 - (config.keep_hidden if number else config.keep_input)))
        if kind == "maxout":
            units, pieces = map(int, size.split("x"))
            D.append(PlainMaxout(inputs, units, pieces))
            inputs = units
        else:
            D.append(nn.Linear(inputs, 1))
    return G, D


def plain_step(config: Config, G: nn.Sequential, D: nn.Sequential, train: Tensor) -> Callable[..., Tensor]:
    """Return the simultaneous update of the released code: both gradients at one point, then both updates."""
    update_G = torch.optim.SGD(G.parameters(), lr=LR, momentum=MOMENTUM, foreach=True)
    update_D = torch.optim.SGD(D.parameters(), lr=LR, momentum=MOMENTUM, foreach=True)
    m, device = config.batch_size, train.device
    ones, zeros = torch.ones(m, 1, device=device), torch.zeros(m, 1, device=device)
    bce = nn.BCEWithLogitsLoss()

    def step(x: Tensor | None = None, z: Tensor | None = None) -> Tensor:
        if x is None:
            x = train[torch.randint(len(train), (m,), device=device)].flatten(1).float().div_(255)
        if z is None:
            z = torch.empty(m, config.noise_dim, device=device).uniform_(-math.sqrt(3), math.sqrt(3))
        logits = D(torch.cat([x, G(z)]))
        loss_d = config.d_cost_factor * (bce(logits[:m], ones) + bce(logits[m:], zeros))
        loss_g = bce(logits[m:], ones)
        gradients_d = torch.autograd.grad(loss_d, list(D.parameters()), retain_graph=True)
        gradients_g = torch.autograd.grad(loss_g, list(G.parameters()))
        for network, gradients in ((D, gradients_d), (G, gradients_g)):
            for p, g in zip(network.parameters(), gradients, strict=True):
                p.grad = g
        update_D.step()
        update_G.step()
        return loss_d.detach()

    return step


def images(preset: str) -> Tensor:
    """Make up training images; a fifth of the pixels is not black, as with MNIST's digits."""
    train = torch.randint(0, 256, (EXAMPLES, *SHAPES[preset]), dtype=torch.uint8)
    train *= torch.rand(train.shape) < 0.2
    return train


# ---- gancli: the trainer's iteration, without what happens once an epoch --------------------------------------------


def own_game(config: Config, ranks: Ranks = ALONE, device: torch.device = CPU) -> Game:
    """Build the players as the trainer does."""
    shape = SHAPES[config.preset]
    game = make_game(config, shape, torch.full((math.prod(shape),), 0.13), device, ranks)
    game.G.train()
    game.D.train()
    return game


def own_step(config: Config, game: Game, train: Tensor, ranks: Ranks = ALONE) -> Callable[..., Tensor]:
    """Return one iteration with all that surrounds it: schedules, data, noise, monitor."""
    device = train.device
    data = Minibatches(train, Preprocessing("scale"), config.batch_size, config.seed, device, ranks)
    rng = torch.Generator(device).manual_seed(1)
    game.D.share_rng(rng)
    monitor, iterate = Monitor(device, 10, ranks), ITERATIONS[config.updates]

    def step(x: Tensor | None = None, z: Tensor | None = None) -> Tensor:
        for rule in (game.update_G, game.update_D):
            set_schedule(rule, LR, MOMENTUM)
        seen = iterate(
            game,
            lambda: draw_noise("uniform", data.own_size, config.noise_dim, rng) if z is None else z,
            lambda: data.draw(monitor.count) if x is None else x.view(-1, *SHAPES[config.preset]),
        )
        monitor.add(shown(seen), monitor.count + 1)
        return seen.loss_d

    return step


# ---- measuring -------------------------------------------------------------------------------------------------------


def operations(config: Config, values: int) -> dict[str, float]:
    """Floating-point operations of one step: of dense products, and of those that the result depends on.

    Both forward passes are dense. Backward, of the pieces of a maxout unit one counts, D's input gradient is needed for
    the samples only, and its weight gradients for D's pass only. (Zeros of dropout and relu are not subtracted.)
    """
    m = config.batch_size
    widths_g = [config.noise_dim] + [int(t.split()[1].replace("out", str(values))) for t in config.generator.split(",")]
    g = [a * b for a, b in itertools.pairwise(widths_g)]
    sizes = [t.split()[1] for t in config.discriminator.split(",")]
    units, pieces = [int(s.split("x")[0]) for s in sizes], [int((s + "x1").split("x")[1]) for s in sizes]
    d = [a * b for a, b in zip([values, *units], units, strict=False)]
    dense_d = [a * p for a, p in zip(d, pieces, strict=True)]
    generator = m * (3 * sum(g) - g[0])
    forward = 2 * m * sum(dense_d)
    # Eager's backward passes through D: weight and input gradients for D, input gradients of all rows again for G.
    eager = generator + forward + 2 * m * (3 * sum(dense_d) - dense_d[0])
    needed = generator + forward + 2 * m * (2 * sum(d) - d[0]) + m * sum(d)
    return {"eager": 2.0 * eager, "needed": 2.0 * needed}


def gradients(step: Callable[..., Tensor], networks: list[nn.Module], x: Tensor, z: Tensor) -> list[Tensor]:
    """Return the gradient of each network in one step, all its weights in one vector."""
    step(x, z)
    return [torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None]) for network in networks]


@dataclass(frozen=True)
class Match:
    """gancli's step and plain torch's, from the same weights and with the same gradients."""

    config: Config
    train: Tensor
    own: Callable[..., Tensor]
    G: nn.Sequential
    D: nn.Sequential
    plain: Callable[..., Tensor]
    error: float  # of gradients, relative to their norm


def match(preset: str, device: torch.device = CPU) -> Match:
    """Build both and check that they have the same gradients, without dropout; it is on when they are returned."""
    torch.manual_seed(0)
    config = presets.resolve(preset, None, {"preprocessing": "scale", "noise": "uniform"})
    train = images(preset).to(device)
    game = own_game(config, device=device)
    G, D = (network.to(device) for network in plain_networks(config, math.prod(SHAPES[preset])))
    with torch.no_grad():
        for network, own in ((G, game.G), (D, game.D)):
            for p, q in zip(network.parameters(), own.parameters(), strict=True):
                p.copy_(q.reshape(p.shape))

    own, plain = own_step(config, game, train), plain_step(config, G, D, train)
    for network in (game.D, D):
        network.eval()
    x = train[: config.batch_size].flatten(1).float() / 255
    z = torch.rand(config.batch_size, config.noise_dim).to(device)
    found = gradients(own, [game.G, game.D], x, z)
    expected = gradients(plain, [G, D], x, z)
    error = max(float((a - b).norm() / b.norm()) for a, b in zip(found, expected, strict=True))
    if not error < LARGEST_ERROR:
        raise SystemExit(f"gancli's gradients are off by {error:.1e} of their norm: nothing to time.")
    for network in (game.D, D):
        network.train()
    return Match(config, train, own, G, D, plain, error)


def compiled_step(pair: Match, **options: Any) -> Callable[..., Tensor]:
    """Return plain torch's step with both networks compiled; options are torch.compile's."""
    G, D = (copy.deepcopy(network) for network in (pair.G, pair.D))
    for network in (G, D):
        network.compile(**options)
    return plain_step(pair.config, G, D, pair.train)


def compare(preset: str, rounds: int, compiled: bool) -> dict[str, Any]:
    """Time the steps, once they are known to have the same gradients."""
    pair = match(preset)
    steps = {"gancli": pair.own, "torch eager": pair.plain}
    if compiled:
        steps["torch.compile"] = compiled_step(pair)

    timings = interleave([Contender(name, step) for name, step in steps.items()], rounds=rounds)
    work = operations(pair.config, math.prod(SHAPES[preset]))
    rows = [t.summary(work["needed"], timings[0]) for t in timings]
    return {"preset": preset, "operations": work, "max_relative_error": pair.error, "contenders": rows}


def show(results: dict[str, Any], console: Console) -> None:
    """Print the tables that people read."""
    console.print(machine_in_words(results["machine"]))
    for case in results["cases"]:
        work = case["operations"]
        title = (
            f"{case['preset']}: {work['needed'] / 1e9:.1f} GFLOP needed, eager does {work['eager'] / 1e9:.1f}; "
            f"gradients alike to {case['max_relative_error']:.0e}"
        )
        table = make_table(title, "", "ms", "min – max", "steps/s", "of peak", "× gancli")
        for row in case["contenders"]:
            table.add_row(
                row["name"],
                f"{row['median_seconds'] * 1e3:.1f}",
                f"{row['min_seconds'] * 1e3:.1f} – {row['max_seconds'] * 1e3:.1f}",
                f"{1 / row['median_seconds']:.1f}",
                f"{row['fraction_of_peak']:.2f}",
                f"{row['times_gancli']:.2f}",
            )
        console.print(table)


@click.command("train")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@click.option("--rounds", default=31, show_default=True, type=click.IntRange(min=1), help="Interleaved rounds.")
@click.option(
    "--preset", "names", multiple=True, type=click.Choice(list(SHAPES)), help="Only this one; may be repeated."
)
@click.option("--compiled/--no-compiled", default=True, show_default=True, help="Also time torch.compile.")
def command(as_json: bool, rounds: int, names: tuple[str, ...], compiled: bool) -> None:
    """Measure whole training steps of the presets: data, noise, dropout, losses, both gradients, both updates."""
    cases = [compare(name, rounds, compiled) for name in names or SHAPES]
    results: dict[str, Any] = {"machine": machine(), "cases": cases}
    give_out(results, as_json, show)
