"""The Parzen log-sum-exp beside its peers, and its growth with n, d and the number of sigmas."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from benchmarks.common import (
    Contender,
    Timing,
    footnotes,
    give_out,
    interleave,
    machine,
    machine_in_words,
    make_table,
    marked,
    read_bandwidth,
)
from benchmarks.plot import save_peers
from gancli.figures.style import check_figure
from gancli.ops import parzen_log_sum_exp

M, N, D = 10_000, 10_000, 784
ONE_SIGMA = (0.2,)
TEN_SIGMAS = tuple(0.1 * 10 ** (i / 9) for i in range(10))  # 0.1 to 1, as a search for the best σ tries them
FEW_POINTS = 10  # what takes minutes for all points is timed on so many and scaled
CHECKED_POINTS = 50


def operations(m: int, n: int, d: int) -> float:
    """Floating-point operations of the matrix product, the part that no method can leave out; exp comes on top."""
    return 2.0 * m * n * d


# ---- the peers -------------------------------------------------------------------------------------------------------


def cdist_per_sigma(x: Tensor, samples: Tensor, sigmas: Sequence[float]) -> Tensor:
    """Compute as one writes it for one σ, and again for each."""
    return torch.stack([torch.logsumexp(-torch.cdist(x, samples).square() / (2 * sigma**2), dim=1) for sigma in sigmas])


def cdist_once(x: Tensor, samples: Tensor, sigmas: Sequence[float]) -> Tensor:
    """Compute the distances once for all σ."""
    squared = torch.cdist(x, samples).square_()
    return torch.stack([torch.logsumexp(squared / (-2 * sigma**2), dim=1) for sigma in sigmas])


def formula_in_numpy(x: Tensor, samples: Tensor, sigmas: Sequence[float]) -> Tensor:
    """Compute from the differences, as the paper's estimate is defined, point by point."""
    centres = samples.numpy()
    rows = []
    for point in x.numpy():
        row = []
        for sigma in sigmas:
            exponents = -0.5 * np.sum(((point - centres) / sigma) ** 2, axis=1)
            largest = exponents.max()
            row.append(largest + math.log(np.exp(exponents - largest).sum()))
        rows.append(row)
    return torch.tensor(rows).T


def keops(x: Tensor, samples: Tensor, sigmas: Sequence[float]) -> Tensor:
    """Compute with KeOps' lazy tensors."""
    from pykeops.torch import LazyTensor

    squared = ((LazyTensor(x[:, None, :]) - LazyTensor(samples[None, :, :])) ** 2).sum(-1)
    return torch.stack([(-squared / (2 * sigma**2)).logsumexp(dim=1)[:, 0] for sigma in sigmas])


def kernel_density(x: Tensor, samples: Tensor, sigmas: Sequence[float]) -> Tensor:
    """Compute with scikit-learn's KernelDensity, its normalisation taken off again.

    All samples in one leaf of its tree: with the default of 40 in a leaf, the bounds by which it descends lose all
    digits where log-densities are far below zero, and at d = 784 the result is off by thousands of nats.
    """
    from sklearn.neighbors import KernelDensity

    n, d = samples.shape
    rows = []
    for sigma in sigmas:
        scores = KernelDensity(bandwidth=sigma, leaf_size=n).fit(samples.numpy()).score_samples(x.numpy())
        rows.append(scores + math.log(n) + d * math.log(sigma * math.sqrt(2 * math.pi)))
    return torch.from_numpy(np.array(rows))


def contenders(x: Tensor, samples: Tensor, sigmas: tuple[float, ...]) -> list[Contender]:
    """List everything that runs here; gancli is the first."""
    few = x[:FEW_POINTS]
    scaled, note = len(x) / len(few), f"timed on {len(few)} of {len(x):,} points and scaled"
    found = [
        Contender("gancli", lambda: parzen_log_sum_exp(x, samples, sigmas, backend="native")),
        Contender("gancli on torch", lambda: parzen_log_sum_exp(x, samples, sigmas, backend="torch")),
        Contender("torch.cdist + logsumexp", lambda: cdist_per_sigma(x, samples, sigmas)),
    ]
    if len(sigmas) > 1:
        found.append(Contender("torch.cdist once", lambda: cdist_once(x, samples, sigmas)))
    found.append(Contender("formula in NumPy", lambda: formula_in_numpy(few, samples, sigmas), scaled, note))
    if importlib.util.find_spec("pykeops"):
        found.append(Contender("KeOps", lambda: keops(few, samples, sigmas), scaled, note))
    if importlib.util.find_spec("sklearn"):
        found.append(Contender("scikit-learn", lambda: kernel_density(few, samples, sigmas), scaled, note))
    return found


# ---- measuring -------------------------------------------------------------------------------------------------------


def errors(entries: Sequence[Contender], x: Tensor, samples: Tensor, sigmas: Sequence[float]) -> list[float]:
    """Return the largest error in nats of each contender on a few points, against the formula in float64."""
    truth = formula_in_numpy(x[:CHECKED_POINTS].double(), samples.double(), sigmas)
    found = []
    for entry in entries:
        result = entry.run()[:, :CHECKED_POINTS].double()
        error = float((result - truth[:, : result.shape[1]]).abs().max())
        if not error < 0.1:
            raise SystemExit(f"{entry.name} is off by {error} nats: nothing to time.")
        found.append(error)
    return found


def compare(m: int, n: int, d: int, sigmas: tuple[float, ...], rounds: int) -> dict[str, Any]:
    """Check and time all contenders on one problem."""
    x, samples = torch.rand(m, d), torch.rand(n, d)
    entries = contenders(x, samples, sigmas)
    wrong = errors(entries, x, samples, sigmas)
    timings = interleave(entries, rounds=rounds)
    rows = [
        {**timing.summary(operations(m, n, d), timings[0]), "max_abs_error_nats": error}
        for timing, error in zip(timings, wrong, strict=True)
    ]
    return {"m": m, "n": n, "d": d, "sigmas": len(sigmas), "contenders": rows}


def alone(m: int, n: int, d: int, num_sigmas: int, rounds: int) -> dict[str, Any]:
    """Time gancli on one problem, beside the two floors: its arithmetic at peak, its bytes at measured bandwidth."""
    x, samples = torch.rand(m, d), torch.rand(n, d)
    sigmas = ONE_SIGMA if num_sigmas == 1 else tuple(0.1 * 10 ** (i / (num_sigmas - 1)) for i in range(num_sigmas))
    entry = Contender("gancli", lambda: parzen_log_sum_exp(x, samples, sigmas, backend="native"))
    timing: Timing = interleave([entry], rounds=rounds)[0]
    peak = sorted(timing.peaks)[len(timing.peaks) // 2]
    arithmetic = operations(m, n, d) / peak
    reading = 4.0 * (m + n) * d / read_bandwidth(x if m > n else samples)
    return {
        "m": m,
        "n": n,
        "d": d,
        "sigmas": num_sigmas,
        "median_seconds": timing.median,
        "min_seconds": min(timing.seconds),
        "max_seconds": max(timing.seconds),
        "fraction_of_peak": timing.fraction_of_peak(operations(m, n, d)),
        "arithmetic_floor_seconds": arithmetic,
        "reading_floor_seconds": reading,
        "times_floor": timing.median / max(arithmetic, reading),
    }


# With m, d and σ held, then each of n, d, s in turn; last the narrow problems, where memory has a say.
GROWTH = [
    *((M, n, D, 1) for n in (1_000, 3_000, 10_000, 30_000)),
    *((M, 5_000, d, 1) for d in (32, 256, 784, 2_304, 3_072)),
    *((M, N, D, s) for s in (1, 3, 10, 30)),
    (20, 100_000, D, 1),
    (M, 20, D, 1),
]


# ---- showing ---------------------------------------------------------------------------------------------------------


def three_digits(value: float) -> str:
    """Return a number with about three digits: 0.755, 2.93, 46.8, 1,022."""
    return f"{value:,.{max(0, min(3, 2 - math.floor(math.log10(value))))}f}"


def show(results: dict[str, Any], console: Console) -> None:
    """Print the tables that people read."""
    console.print(machine_in_words(results["machine"]))
    for case in results["comparisons"]:
        title = f"{case['m']:,} points × {case['n']:,} samples × {case['d']}, sigmas: {case['sigmas']}"
        columns = ("", "seconds", "min – max", "of peak", "× gancli", "error, nats")
        table = make_table(title, *columns)
        for row in case["contenders"]:
            table.add_row(
                marked(row),
                three_digits(row["median_seconds"]),
                f"{three_digits(row['min_seconds'])} – {three_digits(row['max_seconds'])}",
                f"{row['fraction_of_peak']:.3f}",
                three_digits(row["times_gancli"]),
                f"{row['max_abs_error_nats']:.1e}",
            )
        console.print(table)
        for note in footnotes(case["contenders"]):
            console.print(note)
    if results["growth"]:
        columns = ("m", "n", "d", "σ", "seconds", "min – max", "of peak", "× floor")
        table = make_table("gancli alone", *columns)
        for row in results["growth"]:
            table.add_row(
                f"{row['m']:,}",
                f"{row['n']:,}",
                f"{row['d']:,}",
                str(row["sigmas"]),
                f"{row['median_seconds']:.4f}",
                f"{row['min_seconds']:.4f} – {row['max_seconds']:.4f}",
                f"{row['fraction_of_peak']:.3f}",
                f"{row['times_floor']:.2f}",
            )
        console.print(table)


@click.command("parzen")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@click.option("--rounds", default=7, show_default=True, type=click.IntRange(min=1), help="Interleaved rounds.")
@click.option("--growth/--no-growth", default=True, show_default=True, help="Also vary n, d and the number of sigmas.")
@click.option("--peers/--no-peers", default=True, show_default=True, help="Also run the other implementations.")
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="Draw the peers' times to this file.")
def command(as_json: bool, rounds: int, growth: bool, peers: bool, plot: Path | None) -> None:
    """Measure the Parzen log-sum-exp: all σ in one pass over 10,000 × 10,000 distances of d = 784, and more.

    Times are medians over rounds; shares are of the peak of fused multiply-adds, measured around each call. The floor
    of a problem is the larger of two times: its arithmetic at that peak, its input read once.
    """
    if plot is not None:
        check_figure(plot)
        if not peers:
            raise click.UsageError("--plot draws the peers, and --no-peers leaves them out.")
    torch.manual_seed(0)
    results: dict[str, Any] = {"machine": machine(), "comparisons": [], "growth": []}
    if peers:
        results["comparisons"] = [compare(M, N, D, sigmas, rounds) for sigmas in (ONE_SIGMA, TEN_SIGMAS)]
    if growth:
        results["growth"] = [alone(*case, rounds) for case in GROWTH]
    give_out(results, as_json, show)
    if plot is not None:
        save_peers(plot, results)
