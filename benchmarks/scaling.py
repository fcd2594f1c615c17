"""What the cost model of docs/scaling.md predicts for machines that are not here: arithmetic, nothing is measured."""

from __future__ import annotations

import math
from dataclasses import dataclass

import click
from rich.console import Console

from benchmarks.common import make_table
from benchmarks.train import SHAPES, operations
from gancli import presets
from gancli.train.setup import make_networks

FLOAT = 4  # bytes
POINTS, SIGMAS = 11_000, 10  # MNIST's test and validation examples, and the paper's kernel widths


@dataclass(frozen=True)
class Machine:
    """What is assumed of each rank and of the network between ranks; sustained rates, not peaks.

    Attributes:
        name: what the table calls it.
        products: operations per second of the step's dense products.
        distances: operations per second of the Parzen estimate's.
        exponentials: exponentials per second.
        memory: bytes per second.
        overhead: seconds of a step that no size changes: launches, small operations.
        link: bytes per second at which each rank's part of a sum over ranks moves.
        latency: seconds of an empty sum over ranks.
    """

    name: str
    products: float
    distances: float
    exponentials: float
    memory: float
    overhead: float
    link: float
    latency: float


NODE = Machine("8 GPUs of one node", 20e12, 40e12, 2e12, 2.5e12, 0.7e-3, 350e9, 20e-6)
CLUSTER = Machine("64 GPUs of eight nodes", 20e12, 40e12, 2e12, 2.5e12, 0.7e-3, 40e9, 60e-6)


def summing(size: float, ranks: int, machine: Machine) -> float:
    """Return the seconds of a sum over ranks: a ring moves 2 (R − 1)/R of the bytes, and nothing is free of latency."""
    return 0.0 if ranks == 1 else 2 * (ranks - 1) / ranks * size / machine.link + machine.latency


def step(preset: str, per_rank: int, ranks: int, machine: Machine) -> tuple[float, float]:
    """Return the seconds of a training step, and of the messages in it.

    Args:
        preset: whose networks.
        per_rank: examples of a minibatch on each rank.
        ranks: how many.
        machine: what each is like.
    """
    config = presets.resolve(preset, None, {"batch_size": per_rank})
    networks = make_networks(config, SHAPES[preset])
    weights = [sum(p.numel() for p in network.parameters()) for network in networks]
    # Momentum reads gradient, velocity and weight and writes two of them; before, weights are read twice by forward
    # and backward passes, and gradients written.
    traffic = (5 + 2 + 1) * FLOAT * sum(weights)
    needed = operations(config, math.prod(SHAPES[preset]))["needed"]
    alone = needed / machine.products + traffic / machine.memory + machine.overhead
    messages = sum(summing(FLOAT * count, ranks, machine) for count in weights)
    return alone + messages, messages


def estimate(samples: float, ranks: int, machine: Machine) -> tuple[float, float]:
    """Return the seconds of a streamed Parzen estimate with MNIST's networks and test set, and of its messages."""
    config, d = presets.resolve("mnist", None, {}), math.prod(SHAPES["mnist"])
    weights = sum(p.numel() for p in make_networks(config, SHAPES["mnist"])[0].parameters())
    own = samples / ranks
    mapping = 2 * weights * own / machine.products
    distances = 2 * d * POINTS * own / machine.distances + SIGMAS * POINTS * own / machine.exponentials
    drawing = samples * config.noise_dim * FLOAT / machine.memory  # every rank draws every z
    reports = 3 * math.log10(samples / 1000) + 1
    messages = reports * 2 * summing(SIGMAS * POINTS * 8, ranks, machine)
    return mapping + distances + drawing + messages, messages


@click.command("scaling")
def command() -> None:
    """Print the predictions of docs/scaling.md for 8 and 64 GPUs; nothing is measured."""
    columns = ("", "ranks", "examples a rank", "ms a step", "of it messages", "images/s", "efficiency")
    table = make_table("Predicted, not measured", *columns)
    for preset in SHAPES:
        for per_rank in (100, 1000):
            for ranks, machine in ((1, NODE), (8, NODE), (64, CLUSTER)):
                seconds, messages = step(preset, per_rank, ranks, machine)
                alone, _ = step(preset, per_rank, 1, machine)
                table.add_row(
                    preset,
                    str(ranks),
                    str(per_rank),
                    f"{seconds * 1e3:.2f}",
                    f"{messages * 1e3:.2f}",
                    f"{ranks * per_rank / seconds:,.0f}",
                    f"{alone / seconds:.2f}",
                )
    console = Console()
    console.print(table)
    for ranks, machine in ((1, NODE), (8, NODE), (64, CLUSTER)):
        seconds, messages = estimate(1e9, ranks, machine)
        console.print(f"Parzen, 10^9 samples, {ranks} GPUs: {seconds:,.1f} s, of it messages {messages * 1e3:.1f} ms")
