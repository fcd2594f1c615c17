"""What the benchmarks share: interleaved timing, the limits of the machine, and what to print beside every figure.

A figure in seconds means little on a machine that others use too. So every round times all contenders one after the
other, with the peak of fused multiply-adds measured before and after each; what is quoted is the median over rounds,
and ratios and fractions are taken within a round.
"""

from __future__ import annotations

import json
import platform
import statistics
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

import gancli
from gancli.errors import UsageError
from gancli.ops import native


@dataclass
class Contender:
    """One way to compute the same thing.

    Args:
        name: what the table calls it.
        run: compute it once and return the result.
        scale: what a measured time is multiplied by, where only a part of the work is done.
        note: how the figure came about, if not by doing all of the work.
    """

    name: str
    run: Callable[[], Tensor]
    scale: float = 1.0
    note: str = ""


@dataclass
class Timing:
    """The times of one contender in seconds, scaled to the whole work, and the peak around each, in operations/s."""

    name: str
    note: str = ""
    seconds: list[float] = field(default_factory=list)
    peaks: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Median of the times."""
        return statistics.median(self.seconds)

    def fraction_of_peak(self, operations: float) -> float:
        """Median over rounds of the rate of `operations`, as a share of the peak measured around that round."""
        return statistics.median(
            operations / seconds / peak for seconds, peak in zip(self.seconds, self.peaks, strict=True)
        )

    def summary(self, operations: float, base: Timing) -> dict[str, Any]:
        """Return the row that tables and --json show; `base` is what ratios are against."""
        return {
            "name": self.name,
            "median_seconds": self.median,
            "min_seconds": min(self.seconds),
            "max_seconds": max(self.seconds),
            "rounds": len(self.seconds),
            "fraction_of_peak": self.fraction_of_peak(operations),
            "times_gancli": statistics.median(a / b for a, b in zip(self.seconds, base.seconds, strict=False)),
            "note": self.note,
        }


def cpu_module() -> ModuleType:
    """Return the native CPU module, or raise UsageError: without it there is nothing to measure against."""
    module, reason = native.load("_cpu")
    if module is None:
        raise UsageError(f"the benchmarks need gancli._cpu: {reason}.")
    return module


def fma_peak(seconds: float = 0.03) -> float:
    """Measure the peak of fused multiply-adds on torch's threads, in operations per second."""
    module = cpu_module()
    peak: float = module.fma_peak(threads=torch.get_num_threads(), seconds=seconds, isa=native.cpu_isa(module))
    return peak


def read_bandwidth(data: Tensor, rounds: int = 5) -> float:
    """Measure how fast `data` (contiguous float32) is read once through on torch's threads, in bytes per second."""
    module = cpu_module()
    isa, threads = native.cpu_isa(module), torch.get_num_threads()
    rates: list[float] = [module.read_bandwidth(data.data_ptr(), data.numel(), threads, isa) for _ in range(rounds)]
    return statistics.median(rates)


def interleave(contenders: Sequence[Contender], *, rounds: int, slow_rounds: int = 2) -> list[Timing]:
    """Time all contenders in turn, `rounds` times; those of more than two seconds only `slow_rounds` times."""
    timings = [Timing(contender.name, contender.note) for contender in contenders]
    for contender in contenders:  # warm up: pages, threads, caches of plans
        contender.run()
    for round_number in range(rounds):
        before = fma_peak()
        for contender, timing in zip(contenders, timings, strict=True):
            if round_number >= slow_rounds and timing.median > 2.0 * contender.scale:
                continue
            start = time.perf_counter()
            contender.run()
            seconds = time.perf_counter() - start
            after = fma_peak()
            timing.seconds.append(seconds * contender.scale)
            timing.peaks.append((before + after) / 2)
            before = after
    return timings


def machine() -> dict[str, Any]:
    """Say where and with what the figures were measured."""
    module = cpu_module()
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        models = [
            line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        name = models[0] if models else name
    return {
        "cpu": name,
        "isa": native.cpu_isa(module),
        "threads": torch.get_num_threads(),
        "fma_peak_gflops": max(fma_peak() for _ in range(5)) / 1e9,
        "gancli": gancli.__version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def machine_in_words(about: Mapping[str, Any]) -> str:
    """Return what `machine` says as the line above the tables."""
    return (
        f"{about['cpu']}, {about['threads']} threads, {about['isa']}, peak {about['fma_peak_gflops']:.0f} GFLOP/s; "
        f"torch {about['torch']}, numpy {about['numpy']}, python {about['python']}"
    )


def make_table(title: str, *columns: str, words: Collection[str] = ("",)) -> Table:
    """Return an empty table of numbers; the columns that hold `words` begin at the left."""
    table = Table(title=title)
    for column in columns:
        table.add_column(column, justify="left" if column in words else "right")
    return table


def marked(row: Mapping[str, Any]) -> str:
    """Return the name in a summary row, with a star where it has a note."""
    return f"{row['name']} *" if row["note"] else str(row["name"])


def footnotes(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the notes of summary rows, each once, with the star that refers to them."""
    return list(dict.fromkeys(f"* {row['note']}" for row in rows if row["note"]))


def give_out(results: dict[str, Any], as_json: bool, show: Callable[[dict[str, Any], Console], None]) -> None:
    """Print results as one JSON object, or as the tables that people read."""
    if as_json:
        click.echo(json.dumps(results, indent=2))
    else:
        show(results, Console())


def write_json(path: str | None, results: Mapping[str, Any]) -> None:
    """Write results to a file, if one was asked for."""
    if path is not None:
        Path(path).write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
