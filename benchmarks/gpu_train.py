"""The captured training step on a GPU, beside the same step uncaptured, plain torch's, and torch.compile's graphs."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import click
import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from benchmarks.common import write_json
from benchmarks.train import LR, MOMENTUM, SHAPES, Match, compiled_step, match, own_game
from gancli.data.preprocess import Preprocessing
from gancli.ranks import ALONE
from gancli.train.captured import captured_if_possible
from gancli.train.minibatches import Minibatches
from gancli.train.monitor import Monitor
from gancli.train.step import Step

EPOCH = 500  # iterations of an epoch of MNIST
LOOK = 10  # iterations from one look at the means to the next, as in an epoch of 500
Run = Callable[[], object]


def own_run(pair: Match, *, captured: bool) -> tuple[Run, nn.Module]:
    """Return the trainer's iteration, with data, schedules, noise and monitor, and its generator."""
    config, device = pair.config, pair.train.device
    game = own_game(config, device=device)
    data = Minibatches(pair.train, Preprocessing(config.preprocessing), config.batch_size, config.seed, device)
    rng = torch.Generator(device).manual_seed(1)
    game.D.share_rng(rng)
    step = Step(config, game, data, rng)
    play = captured_if_possible(step, device, ALONE)[0] if captured else step
    monitor, numbers = Monitor(device, LOOK), itertools.count()

    def run() -> None:
        number = next(numbers)
        monitor.add(play(number, LR / 1.000004**number, MOMENTUM), number + 1)

    return run, game.G


def compiled_run(pair: Match) -> Run:
    """Return plain torch's step, compiled in mode reduce-overhead: CUDA graphs of its own around both networks."""
    torch._functorch.config.donated_buffer = False  # D's graph is gone through backwards twice
    step = compiled_step(pair, mode="reduce-overhead")

    def run() -> None:
        torch.compiler.cudagraph_mark_step_begin()
        step()

    return run


def seconds_of(run: Run, steps: int, device: torch.device) -> float:
    """Time so many steps, from an idle device to an idle device."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(steps):
        run()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def difference_between_two_runs(pair: Match, steps: int) -> float:
    """Play the captured step twice from the beginning; returns the largest difference between G's weights."""
    ends = []
    for _ in range(2):
        run, G = own_run(pair, captured=True)
        seconds_of(run, steps, pair.train.device)
        ends.append(torch.cat([p.detach().flatten() for p in G.parameters()]))
    return float((ends[0] - ends[1]).abs().max())


def compare(preset: str, device: torch.device, *, rounds: int, steps: int, compiled: bool) -> dict[str, Any]:
    """Time all contenders in turn; one that fails is named with its reason."""
    pair = match(preset, device)
    made: dict[str, Callable[[], Run]] = {
        "gancli, captured": lambda: own_run(pair, captured=True)[0],
        "gancli, uncaptured": lambda: own_run(pair, captured=False)[0],
        "torch, eager": lambda: pair.plain,
    }
    if compiled:
        made["torch.compile, reduce-overhead"] = lambda: compiled_run(pair)
    runs: dict[str, Run] = {}
    rows: list[dict[str, Any]] = []
    for name, make in made.items():
        try:
            runs[name] = make()
            seconds_of(runs[name], 5, device)
        except Exception as error:
            runs.pop(name, None)
            rows.append({"name": name, "failed": f"{type(error).__name__}: {error!s}".splitlines()[0]})
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            times[name].append(seconds_of(run, steps, device) / steps)
    rows += [
        {"name": name, "median_seconds": statistics.median(t), "min_seconds": min(t), "max_seconds": max(t)}
        for name, t in times.items()
    ]
    return {
        "preset": preset,
        "max_relative_error": pair.error,
        "difference_between_two_runs": difference_between_two_runs(pair, steps),
        "contenders": rows,
    }


def aims(cases: Sequence[dict[str, Any]]) -> list[tuple[str, float | None, str, bool]]:
    """Return what was aimed at, what was measured (None: it failed), the bound in words and whether it holds."""
    found: list[tuple[str, float | None, str, bool]] = []
    for case in cases:
        seconds = {row["name"]: row.get("median_seconds") for row in case["contenders"]}
        own = seconds["gancli, captured"]
        bounds = {"torch, eager": 5 if case["preset"] == "mnist" else 2}
        if case["preset"] == "mnist":
            bounds["torch.compile, reduce-overhead"] = 1.5
            epoch = EPOCH * own if own else None
            found.append((f"mnist, {EPOCH} steps, s", epoch, "< 0.25", epoch is not None and epoch < 0.25))
        for name, bound in bounds.items():
            times = seconds.get(name) / own if seconds.get(name) and own else None
            holds = times is not None and times >= bound
            found.append((f"{case['preset']}, captured step, times {name}", times, f"≥ {bound}", holds))
        apart = case["difference_between_two_runs"]
        found.append((f"{case['preset']}, two captured runs, largest difference", apart, "0", apart == 0))
    return found


def show(case: dict[str, Any], console: Console) -> None:
    """Print the table that people read."""
    table = Table(title=f"{case['preset']}: one step; gradients alike to {case['max_relative_error']:.0e}")
    for column in ("", "ms (median)", "min – max", "steps/s"):
        table.add_column(column, justify="right" if column else "left")
    for row in case["contenders"]:
        if "failed" in row:
            table.add_row(row["name"], row["failed"], "", "")
            continue
        table.add_row(
            row["name"],
            f"{row['median_seconds'] * 1e3:.3f}",
            f"{row['min_seconds'] * 1e3:.3f} – {row['max_seconds'] * 1e3:.3f}",
            f"{1 / row['median_seconds']:,.0f}",
        )
    console.print(table)


def show_aims(results: dict[str, Any], console: Console) -> bool:
    """Print what was aimed at and whether it holds; return whether all of it does."""
    for name, value, bound, holds in results["aims"]:
        measured = "not measured" if value is None else f"{value:.4g}"
        console.print(f"{'holds ' if holds else 'MISSED'}  {name}: {measured}, aim {bound}")
    return all(holds for *_, holds in results["aims"])


@click.command("gpu-train")
@click.option("--json", "json_path", type=click.Path(dir_okay=False), metavar="FILE", help="Also write all figures.")
@click.option("--device", default="cuda", show_default=True, help="Where; on the CPU nothing is captured.")
@click.option("--rounds", default=7, show_default=True, type=click.IntRange(min=1), help="Interleaved rounds.")
@click.option("--steps", default=100, show_default=True, type=click.IntRange(min=1), help="Steps of a round.")
@click.option("--compiled/--no-compiled", default=True, show_default=True, help="Also time torch.compile.")
@click.option(
    "--preset", "names", multiple=True, type=click.Choice(list(SHAPES)), help="Only this one; may be repeated."
)
def command(
    json_path: str | None, device: str, rounds: int, steps: int, compiled: bool, names: tuple[str, ...]
) -> None:
    """Measure whole training steps of the presets on this machine's GPU."""
    if device != "cpu" and not torch.cuda.is_available():
        raise SystemExit(f"torch {torch.__version__} sees no GPU to measure training steps on.")
    where, console, cases = torch.device(device), Console(width=130), []
    results: dict[str, Any] = {}
    for name in names or SHAPES:
        # Only mnist has an aim beside torch.compile, which takes minutes to begin.
        cases.append(compare(name, where, rounds=rounds, steps=steps, compiled=compiled and name == "mnist"))
        show(cases[-1], console)
        results = {"device": str(where), "torch": torch.__version__, "cases": cases, "aims": aims(cases)}
        write_json(json_path, results)  # case by case, so that a time limit takes only those that are missing
    if not show_aims(results, console):
        raise SystemExit(1)  # a script that looks at nothing else is to know
