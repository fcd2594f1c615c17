"""Training on several processes of this machine beside one: whole steps, and the messages alone."""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

import click
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.common import machine
from benchmarks.train import SHAPES, images, operations, own_game, own_step
from gancli import presets
from gancli.ranks import ALONE, Ranks, current, joined


@dataclass(frozen=True)
class Group:
    """Processes that train together; the minibatch is that of all of them."""

    processes: int
    threads: int
    batch: int

    @property
    def name(self) -> str:
        """What tables call it."""
        return f"{self.processes} × {self.threads} thread{'s' * (self.threads > 1)}, minibatch {self.batch}"


@dataclass
class Figures:
    """What was measured of a group in each round: seconds of a step, and of the messages in it, the wait included."""

    group: Group
    step: list[float] = field(default_factory=list)
    messages: list[float] = field(default_factory=list)


class Watched(Ranks):
    """Ranks that add up the time of their messages."""

    seconds = 0.0

    def sum_(self, tensor: Tensor) -> Tensor:
        """Time the sum of a tensor over ranks."""
        start = time.perf_counter()
        super().sum_(tensor)
        Watched.seconds += time.perf_counter() - start
        return tensor


def work(preset: str, group: Group, environment: dict[str, str], orders: Connection) -> None:
    """Obey orders in one process: a number of steps to take, or of bytes to send so many times."""
    os.environ.update(environment)
    torch.set_num_threads(group.threads)
    torch.manual_seed(0)
    with joined() if group.processes > 1 else nullcontext():
        ranks = Watched(current().rank, group.processes) if group.processes > 1 else ALONE
        config = presets.resolve(
            preset, None, {"preprocessing": "scale", "noise": "uniform", "batch_size": group.batch}
        )
        step = own_step(config, own_game(config, ranks), images(preset), ranks)
        while (order := orders.recv()) is not None:
            steps, size = order
            message = torch.zeros(size // 4)
            current().largest(0)  # all begin together
            Watched.seconds, start = 0.0, time.perf_counter()
            for _ in range(steps):
                current().sum_(message) if size else step()
            orders.send(((time.perf_counter() - start) / steps, Watched.seconds / steps))


class Team:
    """A group's processes, idle until they are given an order."""

    def __init__(self, preset: str, group: Group) -> None:
        self.group = group
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        context = multiprocessing.get_context("spawn")
        self._members: list[tuple[BaseProcess, Connection]] = []
        for rank in range(group.processes):
            names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
            values = (rank, rank, group.processes, group.processes, "127.0.0.1", port)
            environment = {name: str(value) for name, value in zip(names, values, strict=True)}
            ours, theirs = context.Pipe()
            process = context.Process(target=work, args=(preset, group, environment, theirs), daemon=True)
            process.start()
            self._members.append((process, ours))

    def order(self, steps: int, size: int = 0) -> tuple[float, float]:
        """Let all take steps, or send messages of `size` bytes; returns seconds of one, and of its messages."""
        for _, orders in self._members:
            orders.send((steps, size))
        answers = [orders.recv() for _, orders in self._members]
        return max(seconds for seconds, _ in answers), statistics.mean(seconds for _, seconds in answers)

    def dismiss(self) -> None:
        """Let the processes end."""
        for _, orders in self._members:
            orders.send(None)
        for process, _ in self._members:
            process.join()


def measure(preset: str, groups: Sequence[Group], rounds: int, steps: int) -> Iterator[Figures]:
    """Time all groups in turn, `rounds` times `steps` steps each."""
    teams = [Team(preset, group) for group in groups]
    figures = [Figures(group) for group in groups]
    for team in teams:
        team.order(2)
    for _ in range(rounds):
        for team, found in zip(teams, figures, strict=True):
            seconds, messages = team.order(steps)
            found.step.append(seconds)
            found.messages.append(messages)
    for team in teams:
        team.dismiss()
    yield from figures


def transfer(preset: str, processes: int, sizes: Sequence[int], rounds: int) -> list[float]:
    """Return the median seconds of a sum over ranks for each size in bytes, the processes doing nothing else."""
    team = Team(preset, Group(processes, 1, 100 * processes))
    times = [[team.order(3, size)[0] for size in sizes] for _ in range(rounds + 1)][1:]
    team.dismiss()
    return [statistics.median(column) for column in zip(*times, strict=True)]


def parameters(preset: str) -> dict[str, int]:
    """Count the weights of both networks."""
    game = own_game(presets.resolve(preset, None, {"preprocessing": "scale", "noise": "uniform"}))
    return {name: sum(p.numel() for p in network.parameters()) for name, network in (("G", game.G), ("D", game.D))}


def ratio(a: Figures, b: Figures) -> tuple[float, float, float]:
    """Return the median, least and largest ratio of images per second of a to b, taken within rounds."""
    scale = a.group.batch / b.group.batch
    ratios = [scale * other / own for own, other in zip(a.step, b.step, strict=True)]
    return statistics.median(ratios), min(ratios), max(ratios)


def predict(group: Group, alone: dict[int, float], messages: float) -> float:
    """Return what the cost model of docs/scaling.md gives for a step of single-threaded processes, in seconds.

    T = (a + c·m/R)·max(1, R/cores) + T_messages; a and c come from a line through the steps of one process.

    Args:
        group: R processes and the minibatch m.
        alone: seconds of a step of one process by minibatch.
        messages: seconds of the sums of both gradients, measured by themselves.
    """
    c, a = statistics.linear_regression(list(alone), list(alone.values()))
    cores = len(os.sched_getaffinity(0))
    return (a + c * group.batch / group.processes) * max(1.0, group.processes / cores) + messages


def show(results: dict[str, Any], console: Console) -> None:
    """Print the tables that people read."""
    about = results["machine"]
    console.print(f"{about['cpu']}, {about['isa']}; torch {about['torch']}; {results['rounds']} rounds")
    table = Table(title=f"{results['preset']}: a step needs {results['operations'] / 1e9:.2f} GFLOP for 100 examples")
    for column in ("", "ms a step", "predicted", "of it messages", "images/s", "to the first", "min – max"):
        table.add_column(column, justify="right" if column else "left")
    for row in results["groups"]:
        table.add_row(
            row["name"],
            f"{row['step'] * 1e3:.1f}",
            f"{row['predicted'] * 1e3:.1f}" if row["predicted"] else "",
            f"{row['messages'] * 1e3:.1f}",
            f"{row['images_per_second']:,.0f}",
            f"{row['ratio'][0]:.2f}",
            f"{row['ratio'][1]:.2f} – {row['ratio'][2]:.2f}",
        )
    console.print(table)
    for row in results["messages"]:
        console.print(
            f"{row['processes']} processes, sum of {row['bytes'] / 1e6:.2f} MB: {row['seconds'] * 1e3:.2f} ms",
        )


@click.command("ranks")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@click.option("--rounds", default=15, show_default=True, type=click.IntRange(min=1), help="Interleaved rounds.")
@click.option("--steps", default=6, show_default=True, type=click.IntRange(min=1), help="Steps of a group in a round.")
@click.option("--preset", default="mnist", show_default=True, type=click.Choice(list(SHAPES)))
@click.option("--four", is_flag=True, help="Also four processes.")
def command(as_json: bool, rounds: int, steps: int, preset: str, four: bool) -> None:
    """Measure training on several processes of this machine: each of one thread, beside one process of two threads."""
    groups = [Group(1, 2, 200), Group(2, 1, 200), Group(1, 2, 100), Group(1, 1, 200), Group(1, 1, 100), Group(1, 1, 50)]
    groups += [Group(4, 1, 400), Group(4, 1, 200)] if four else []
    figures = list(measure(preset, groups, rounds, steps))
    weights = parameters(preset)
    sizes = [4, *(4 * count for count in weights.values())]
    messages = [
        {"processes": processes, "bytes": size, "seconds": seconds}
        for processes in ((2, 4) if four else (2,))
        for size, seconds in zip(sizes, transfer(preset, processes, sizes, rounds), strict=True)
    ]
    alone = {
        f.group.batch: statistics.median(f.step) for f in figures if (f.group.processes, f.group.threads) == (1, 1)
    }
    both = {n: sum(row["seconds"] for row in messages if row["processes"] == n and row["bytes"] > 4) for n in (1, 2, 4)}
    values = torch.Size(SHAPES[preset]).numel()
    results = {
        "machine": machine(),
        "preset": preset,
        "rounds": rounds,
        "operations": operations(presets.resolve(preset, None, {}), values)["needed"],
        "parameters": weights,
        "groups": [
            {
                "name": found.group.name,
                "step": statistics.median(found.step),
                "predicted": predict(found.group, alone, both[found.group.processes])
                if found.group.threads == 1
                else None,
                "messages": statistics.median(found.messages),
                "images_per_second": statistics.median(found.group.batch / seconds for seconds in found.step),
                "ratio": ratio(found, figures[0]),
            }
            for found in figures
        ],
        "messages": messages,
    }
    if as_json:
        click.echo(json.dumps(results, indent=2))
    else:
        show(results, Console())
