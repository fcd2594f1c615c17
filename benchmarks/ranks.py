"""Training on several processes of this machine beside one: whole steps, and the updates alone."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import socket
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

import click
import torch
from rich.console import Console
from torch import Tensor

from benchmarks.common import give_out, machine, make_table
from benchmarks.train import SHAPES, images, operations, own_game, own_step
from gancli import presets
from gancli.config import Config
from gancli.ranks import Ranks, current, joined
from gancli.train.setup import make_rules


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
    """What was measured of a group in each round: seconds of a step, and of the updates in it, waits included."""

    group: Group
    step: list[float] = field(default_factory=list)
    updates: list[float] = field(default_factory=list)


class Watch:
    """Adds up the time of what it is put around."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def around(self, act: Callable[..., Any]) -> Callable[..., Any]:
        """Return `act`, timed."""

        def timed(*arguments: Any) -> Any:
            start = time.perf_counter()
            result = act(*arguments)
            self.seconds += time.perf_counter() - start
            return result

        return timed


def update(weights: int, config: Config, ranks: Ranks) -> Callable[[], Any]:
    """Return what sums up the gradients of so many weights over ranks and updates them, as training does."""
    network = torch.nn.Linear(weights, 1, bias=False)
    (rule,), sums = make_rules(config, [network], ranks)
    network.weight.grad = torch.zeros(1, weights)

    def act() -> None:
        assert network.weight.grad is not None
        (network.weight.grad,) = sums(network, (network.weight.grad,))
        rule.step()

    return act


def work(preset: str, processes: int, environment: dict[str, str], orders: Connection) -> None:
    """Obey orders in one process: a group's steps to take, or so many weights to update, so many times."""
    os.environ.update(environment)
    torch.manual_seed(0)
    train = images(preset)
    with joined() if processes > 1 else nullcontext():
        ranks, watch = current(), Watch()
        steps: dict[Group, Callable[[], Tensor]] = {}
        updates: dict[int, Callable[[], Any]] = {}
        while (order := orders.recv()) is not None:
            group, times, weights = order
            torch.set_num_threads(group.threads)
            if group not in steps:
                given = {"preprocessing": "scale", "noise": "uniform", "batch_size": group.batch}
                config = presets.resolve(preset, None, given)
                game = own_game(config, ranks)
                game = dataclasses.replace(game, sum_gradients=watch.around(game.sum_gradients))
                for rule in (game.update_G, game.update_D):
                    rule.step = watch.around(rule.step)  # type: ignore[method-assign]
                steps[group] = own_step(config, game, train, ranks)
            if weights and weights not in updates:
                updates[weights] = update(weights, presets.resolve(preset, None, {}), ranks)
            ranks.largest(0)  # all begin together
            watch.seconds, start = 0.0, time.perf_counter()
            for _ in range(times):
                updates[weights]() if weights else steps[group]()
            orders.send(((time.perf_counter() - start) / times, watch.seconds / times))


class Team:
    """A number of processes, idle until they are given an order."""

    def __init__(self, preset: str, processes: int) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        context = multiprocessing.get_context("spawn")
        self._members: list[tuple[BaseProcess, Connection]] = []
        for rank in range(processes):
            names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
            values = (rank, rank, processes, processes, "127.0.0.1", port)
            environment = {name: str(value) for name, value in zip(names, values, strict=True)}
            ours, theirs = context.Pipe()
            process = context.Process(target=work, args=(preset, processes, environment, theirs), daemon=True)
            process.start()
            self._members.append((process, ours))

    def order(self, group: Group, times: int, weights: int = 0) -> tuple[float, float]:
        """Let all take steps, or update so many weights; returns seconds of one, and of the updates in it."""
        for _, orders in self._members:
            orders.send((group, times, weights))
        answers = [orders.recv() for _, orders in self._members]
        return max(seconds for seconds, _ in answers), statistics.mean(seconds for _, seconds in answers)

    def dismiss(self) -> None:
        """Let the processes end."""
        for _, orders in self._members:
            orders.send(None)
        for process, _ in self._members:
            process.join()


def measure(
    preset: str, groups: Sequence[Group], weights: Sequence[int], rounds: int, steps: int
) -> tuple[list[Figures], dict[tuple[int, int], float]]:
    """Time all groups in turn, `rounds` times `steps` steps each, and in between updates by themselves.

    Returns:
        The groups' figures, and the median seconds of an update, sums included, by number of processes and of weights.
    """
    teams = {n: Team(preset, n) for n in {group.processes: None for group in groups}}
    figures = [Figures(group) for group in groups]
    updates: dict[tuple[int, int], list[float]] = {(n, count): [] for n in teams for count in weights}
    for group in groups:
        teams[group.processes].order(group, 2)
    for _ in range(rounds):
        for found in figures:
            seconds, updating = teams[found.group.processes].order(found.group, steps)
            found.step.append(seconds)
            found.updates.append(updating)
        for (n, count), times in updates.items():
            times.append(teams[n].order(Group(n, 1, 100 * n), steps, count)[0])
    for team in teams.values():
        team.dismiss()
    return figures, {key: statistics.median(times) for key, times in updates.items()}


def parameters(preset: str) -> dict[str, int]:
    """Count the weights of both networks."""
    game = own_game(presets.resolve(preset, None, {"preprocessing": "scale", "noise": "uniform"}))
    return {name: sum(p.numel() for p in network.parameters()) for name, network in (("G", game.G), ("D", game.D))}


def ratio(a: Figures, b: Figures) -> tuple[float, float, float]:
    """Return the median, least and largest ratio of images per second of a to b, taken within rounds."""
    scale = a.group.batch / b.group.batch
    ratios = [scale * other / own for own, other in zip(a.step, b.step, strict=True)]
    return statistics.median(ratios), min(ratios), max(ratios)


def predict(group: Group, alone: dict[int, float], updates: dict[int, float]) -> float:
    """Return what the cost model of docs/scaling.md gives for a step of single-threaded processes, in seconds.

    T = (a − u₁ + c·m/R)·max(1, R/cores) + u_R; a and c come from a line through the steps of one process.

    Args:
        group: R processes and the minibatch m.
        alone: seconds of a step of one process by minibatch.
        updates: u, seconds of both networks' updates, measured by themselves, by number of processes.
    """
    c, a = statistics.linear_regression(list(alone), list(alone.values()))
    cores = len(os.sched_getaffinity(0))
    own = a - updates[1] + c * group.batch / group.processes
    return own * max(1.0, group.processes / cores) + updates[group.processes]


def show(results: dict[str, Any], console: Console) -> None:
    """Print the tables that people read."""
    about = results["machine"]
    console.print(f"{about['cpu']}, {about['isa']}; torch {about['torch']}; {results['rounds']} rounds")
    title = f"{results['preset']}: a step needs {results['operations'] / 1e9:.2f} GFLOP for 100 examples"
    columns = ("", "ms a step", "predicted", "of it updates", "images/s", "to the first", "min – max")
    table = make_table(title, *columns)
    for row in results["groups"]:
        table.add_row(
            row["name"],
            f"{row['step'] * 1e3:.1f}",
            f"{row['predicted'] * 1e3:.1f}" if row["predicted"] else "",
            f"{row['updates'] * 1e3:.1f}",
            f"{row['images_per_second']:,.0f}",
            f"{row['ratio'][0]:.2f}",
            f"{row['ratio'][1]:.2f} – {row['ratio'][2]:.2f}",
        )
    console.print(table)
    for row in results["updates"]:
        what = f"{row['processes']} × 1 thread, weights updated: {row['weights']:,}"
        console.print(f"{what}, {row['seconds'] * 1e3:.2f} ms")


@click.command("ranks")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@click.option("--rounds", default=15, show_default=True, type=click.IntRange(min=1), help="Interleaved rounds.")
@click.option("--steps", default=6, show_default=True, type=click.IntRange(min=1), help="Steps of a group in a round.")
@click.option("--preset", default="mnist", show_default=True, type=click.Choice(list(SHAPES)))
@click.option("--four", is_flag=True, help="Also four processes.")
def command(as_json: bool, rounds: int, steps: int, preset: str, four: bool) -> None:
    """Measure training on several processes of this machine: each of one thread, beside one process of two threads."""
    groups = [Group(1, 2, 200), Group(2, 1, 200), Group(1, 2, 100), Group(1, 1, 200), Group(1, 1, 100), Group(1, 1, 50)]
    groups += [Group(4, 1, 400)] if four else []
    weights = parameters(preset)
    figures, found_updates = measure(preset, groups, [1, *weights.values()], rounds, steps)
    updates = [{"processes": n, "weights": count, "seconds": s} for (n, count), s in found_updates.items()]
    alone = {
        f.group.batch: statistics.median(f.step) for f in figures if (f.group.processes, f.group.threads) == (1, 1)
    }
    both = {n: sum(found_updates[n, count] for count in weights.values()) for n, _ in found_updates}
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
                "predicted": predict(found.group, alone, both) if found.group.threads == 1 else None,
                "updates": statistics.median(found.updates),
                "images_per_second": statistics.median(found.group.batch / seconds for seconds in found.step),
                "ratio": ratio(found, figures[0]),
            }
            for found in figures
        ],
        "updates": updates,
    }
    give_out(results, as_json, show)
