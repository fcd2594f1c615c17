"""The CUDA kernels beside torch on the same GPU, and beside the limits that the GPU itself shows."""

from __future__ import annotations

import importlib.util
import os
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click
import torch
from rich.console import Console
from torch import Tensor

import gancli
from benchmarks.common import make_table, write_json
from benchmarks.parzen import ONE_SIGMA, TEN_SIGMAS, keops, operations
from gancli.ops import maxout, native, parzen_log_sum_exp

CHECKED_POINTS = 50
TORCH_CHUNK = 4096  # points per matrix product: against 100,000 samples 1.6 GB of distances
KEOPS_LIMIT = 10**9  # distances; beyond, one run takes longer than everything else together
MIB = 2**20

# (points, samples, columns); all with one σ and with ten, the largest last.
CASES = [(20, 100_000, 784), (10_000, 20, 784), (10_000, 10_000, 784), (10_000, 10_000, 3072), (100_000, 100_000, 784)]


# ---- timing ----------------------------------------------------------------------------------------------------------


def device_seconds(run: Callable[[], object], *, rounds: int, warm_up: int = 2) -> list[float]:
    """Time `run` on the device, between events on the current stream."""
    for _ in range(warm_up):
        run()
    times = []
    for _ in range(rounds):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        torch.cuda.synchronize()
        start.record()
        run()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / 1e3)
    return times


def copy_rate() -> float:
    """Measure bytes per second of a copy on the device, read and written."""
    source = torch.rand(2**28, device="cuda")
    target = torch.empty_like(source)
    return 2 * source.nbytes / statistics.median(device_seconds(lambda: target.copy_(source), rounds=7))


def product_rate(dtype: torch.dtype, *, tf32: bool = False) -> float:
    """Measure operations per second of a large square matrix product."""
    size = 8192
    a, b = (torch.randn(size, size, device="cuda").to(dtype) for _ in range(2))
    with allow_tf32(tf32):
        return 2.0 * size**3 / statistics.median(device_seconds(lambda: a @ b, rounds=7))


def limits() -> dict[str, float]:
    """Measure what the GPU gives."""
    return {
        "bytes_per_second": copy_rate(),
        "float32_operations_per_second": product_rate(torch.float32),
        "tf32_operations_per_second": product_rate(torch.float32, tf32=True),
        "float16_operations_per_second": product_rate(torch.float16),
    }


@contextmanager
def allow_tf32(allowed: bool) -> Iterator[None]:
    """Let torch's float32 matrix products run in TF32, or not."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


@contextmanager
def product(name: str) -> Iterator[None]:
    """Let gancli's kernels multiply by `name`: split or float32."""
    before = os.environ.get("GANCLI_CUDA_PRODUCT")
    os.environ["GANCLI_CUDA_PRODUCT"] = name
    try:
        yield
    finally:
        os.environ.pop("GANCLI_CUDA_PRODUCT")
        if before is not None:
            os.environ["GANCLI_CUDA_PRODUCT"] = before


# ---- Parzen ----------------------------------------------------------------------------------------------------------


def torch_chunked(x: Tensor, samples: Tensor, sigmas: Sequence[float]) -> Tensor:
    """Compute as well as torch can: centred, one product per chunk of points for all σ, then logsumexp."""
    centre = samples.mean(dim=0)
    samples = samples - centre
    norms = samples.square().sum(dim=1)
    parts = []
    for rows in x.split(TORCH_CHUNK):
        part = rows - centre
        squared = torch.addmm(norms, part, samples.T, alpha=-2).add_(part.square().sum(dim=1)[:, None]).clamp_(min=0)
        parts.append(torch.stack([torch.logsumexp(squared * (-0.5 / sigma**2), dim=1) for sigma in sigmas]))
    return torch.cat(parts, dim=1)


def truth(x: Tensor, samples: Tensor, sigmas: Sequence[float]) -> Tensor:
    """Return the formula in float64, from explicit differences, for the first few points."""
    points, centres = x[:CHECKED_POINTS].double(), samples.double()
    squared = torch.stack([(point - centres).square().sum(dim=1) for point in points])
    return torch.stack([torch.logsumexp(-squared / (2 * sigma**2), dim=1) for sigma in sigmas])


def contenders(x: Tensor, samples: Tensor, sigmas: Sequence[float]) -> dict[str, Callable[[], Tensor]]:
    """List everything that runs here; gancli's default is the first."""

    def ours(name: str) -> Tensor:
        with product(name):
            return parzen_log_sum_exp(x, samples, sigmas, backend="native")

    def theirs(tf32: bool) -> Tensor:
        with allow_tf32(tf32):
            return torch_chunked(x, samples, sigmas)

    found = {
        "gancli, tensor cores": lambda: ours("split"),
        "gancli, plain float32": lambda: ours("float32"),
        "torch float32 + logsumexp": lambda: theirs(False),
        "torch TF32 + logsumexp": lambda: theirs(True),
    }
    if importlib.util.find_spec("pykeops") and len(x) * len(samples) <= KEOPS_LIMIT:
        found["KeOps"] = lambda: keops(x, samples, sigmas)
    return found


def parzen_case(m: int, n: int, d: int, sigmas: Sequence[float], limit: dict[str, float]) -> dict[str, Any]:
    """Check and time all contenders on one problem."""
    x, samples = torch.rand(m, d, device="cuda"), torch.rand(n, d, device="cuda")
    expected = truth(x, samples, sigmas)
    large = operations(m, n, d) > 1e13
    rows = []
    for name, run in contenders(x, samples, sigmas).items():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        result = run()
        memory = torch.cuda.max_memory_allocated() - before - result.nbytes
        error = float((result[:, :CHECKED_POINTS].double() - expected).abs().max())
        del result
        times = device_seconds(run, rounds=3 if large else 15, warm_up=1 if large else 3)
        seconds = statistics.median(times)
        rows.append(
            {
                "name": name,
                "median_seconds": seconds,
                "min_seconds": min(times),
                "max_seconds": max(times),
                "effective_tflops": operations(m, n, d) / seconds / 1e12,
                "max_abs_error_nats": error,
                "memory_mib": memory / MIB,
            }
        )
    return {
        "m": m,
        "n": n,
        "d": d,
        "sigmas": len(sigmas),
        # Three products of halves for each of float32.
        "tensor_core_floor_seconds": 3 * operations(m, n, d) / limit["float16_operations_per_second"],
        "float32_floor_seconds": operations(m, n, d) / limit["float32_operations_per_second"],
        "bytes_floor_seconds": 4.0 * (m + n) * d / limit["bytes_per_second"],
        "contenders": rows,
    }


# ---- maxout ----------------------------------------------------------------------------------------------------------

# (batch, in, units, pieces): the first layer of D in the MNIST preset, and CIFAR-10's at a large batch.
MAXOUT_CASES = [(100, 784, 240, 5), (4096, 3072, 1600, 5)]


def maxout_case(batch: int, inputs: int, units: int, pieces: int) -> dict[str, Any]:
    """Check and time forward and backward of one layer, on gancli's kernels and on torch."""
    shapes = ((batch, inputs), (units, pieces, inputs), (units, pieces))
    x, weight, bias = (torch.randn(shape, device="cuda").div_(8).requires_grad_() for shape in shapes)
    v_y = torch.randn(batch, units, device="cuda")

    def run(backend: str) -> tuple[Tensor, ...]:
        y = maxout(x, weight, bias, backend=backend)
        return (y, *torch.autograd.grad(y, (x, weight, bias), v_y))

    with allow_tf32(False):
        # Of y alone: where two pieces are close either may win, and the gradient goes with it (tests check it).
        ours, theirs = run("native")[0], run("torch")[0]
        difference = float((ours - theirs).detach().norm() / theirs.detach().norm())
        rows = []
        for backend in ("native", "torch"):
            with torch.no_grad():
                forward = device_seconds(lambda b=backend: maxout(x, weight, bias, backend=b), rounds=31, warm_up=5)
            both = device_seconds(lambda b=backend: run(b), rounds=31, warm_up=5)
            rows.append(
                {
                    "name": {"native": "gancli", "torch": "torch, eager"}[backend],
                    "forward_seconds": statistics.median(forward),
                    "forward_and_backward_seconds": statistics.median(both),
                }
            )
    return {
        "batch": batch,
        "in": inputs,
        "units": units,
        "pieces": pieces,
        "relative_difference": difference,
        "contenders": rows,
    }


# ---- aims ------------------------------------------------------------------------------------------------------------


def aims(cases: Sequence[dict[str, Any]], layers: Sequence[dict[str, Any]]) -> list[tuple[str, float, str, bool]]:
    """Return what was aimed at, what was measured, the bound in words and whether it holds."""
    found = {(case["m"], case["n"], case["d"], case["sigmas"]): case["contenders"] for case in cases}
    large, small = found[100_000, 100_000, 784, 1], found[10_000, 10_000, 784, 1]
    ours = large[0]["median_seconds"]
    against_torch = large[2]["median_seconds"] / ours
    ten = found[100_000, 100_000, 784, 10][0]["median_seconds"] / ours
    # The bound is for d = 784; at d = 3,072 the float32 result itself is rounded by as much.
    error = max(rows[0]["max_abs_error_nats"] for (_, _, d, _), rows in found.items() if d == 784)
    memory = max(rows[0]["memory_mib"] for rows in found.values())
    of_layers = []
    for layer in layers:
        name = f"maxout {layer['in']:,} → {layer['units']:,}×{layer['pieces']}, batch {layer['batch']:,}"
        mine, eager = (row["forward_and_backward_seconds"] for row in layer["contenders"])
        of_layers.append((f"{name}, times torch", eager / mine, "≥ 2", eager / mine >= 2))
        difference = layer["relative_difference"]
        of_layers.append((f"{name}, relative difference", difference, "≤ 1e-5", difference <= 1e-5))
    return [
        *of_layers,
        ("100,000² × 784, TFLOP/s", large[0]["effective_tflops"], "≥ 70", large[0]["effective_tflops"] >= 70),
        ("100,000² × 784, times torch float32", against_torch, "≥ 2", against_torch >= 2),
        ("100,000² × 784, ten σ over one", ten, "≤ 1.3", ten <= 1.3),
        ("10,000² × 784, ms", small[0]["median_seconds"] * 1e3, "< 5", small[0]["median_seconds"] < 5e-3),
        ("largest error at d = 784, nats", error, "≤ 1e-3", error <= 1e-3),
        ("largest memory, MiB", memory, "< 256", memory < 256),
    ]


# ---- showing ---------------------------------------------------------------------------------------------------------


def show_machine(about: dict[str, Any], limit: dict[str, float], console: Console) -> None:
    """Print what the GPU is and gives."""
    console.print(
        f"{about['gpu']}, compute capability {about['capability']}, torch {about['torch']}, CUDA {about['cuda']}; "
        "measured: "
        f"{limit['bytes_per_second'] / 1e12:.2f} TB/s, float32 {limit['float32_operations_per_second'] / 1e12:.0f}, "
        f"TF32 {limit['tf32_operations_per_second'] / 1e12:.0f}, "
        f"float16 {limit['float16_operations_per_second'] / 1e12:.0f} TFLOP/s"
    )


def show_parzen(case: dict[str, Any], console: Console) -> None:
    """Print the table that people read."""
    floors = [1e3 * case[f"{name}_floor_seconds"] for name in ("tensor_core", "float32", "bytes")]
    title = (
        f"{case['m']:,} points × {case['n']:,} samples × {case['d']}, sigmas: {case['sigmas']}; floors: "
        f"tensor cores {floors[0]:.3f} ms, float32 {floors[1]:.3f} ms, bytes {floors[2]:.3f} ms"
    )
    table = make_table(title, "", "ms (median)", "min – max", "TFLOP/s", "max error, nats", "memory, MiB")
    for row in case["contenders"]:
        table.add_row(
            row["name"],
            f"{row['median_seconds'] * 1e3:.3f}",
            f"{row['min_seconds'] * 1e3:.3f} – {row['max_seconds'] * 1e3:.3f}",
            f"{row['effective_tflops']:.1f}",
            f"{row['max_abs_error_nats']:.1e}",
            f"{row['memory_mib']:.0f}",
        )
    console.print(table)


def show_maxout(case: dict[str, Any], console: Console) -> None:
    """Print the table that people read."""
    name = f"{case['in']:,} → {case['units']:,}×{case['pieces']}, batch {case['batch']:,}"
    table = make_table(f"maxout {name}", "", "forward, ms", "forward and backward, ms")
    for row in case["contenders"]:
        times = (row["forward_seconds"], row["forward_and_backward_seconds"])
        table.add_row(row["name"], *(f"{seconds * 1e3:.3f}" for seconds in times))
    console.print(table)


def show_aims(results: dict[str, Any], console: Console) -> bool:
    """Print what was aimed at and whether it holds; return whether all of it does."""
    for name, value, bound, holds in results["aims"]:
        console.print(f"{'holds ' if holds else 'MISSED'}  {name}: {value:.4g}, aim {bound}")
    return all(holds for *_, holds in results["aims"])


@click.command("gpu")
@click.option("--json", "json_path", type=click.Path(dir_okay=False), metavar="FILE", help="Also write all figures.")
def command(json_path: str | None) -> None:
    """Measure the CUDA kernels on this machine's GPU."""
    state = native.describe_cuda()
    if not state["usable"]:
        raise SystemExit(f"No GPU to measure the CUDA kernels on: {state['reason']}.")
    torch.manual_seed(0)
    major, minor = torch.cuda.get_device_capability()
    console, limit = Console(width=130), limits()
    about = {
        "gpu": torch.cuda.get_device_name(),
        "capability": f"{major}.{minor}",
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "gancli": gancli.__version__,
    }
    show_machine(about, limit, console)
    layers: list[dict[str, Any]] = []
    cases: list[dict[str, Any]] = []
    results = {"machine": about, "limits": limit, "maxout": layers, "parzen": cases}
    # Written case by case, so that a time limit takes only those that are missing.
    for shape in MAXOUT_CASES:
        layers.append(maxout_case(*shape))
        show_maxout(layers[-1], console)
        write_json(json_path, results)
    for case in CASES:
        for sigmas in (ONE_SIGMA, TEN_SIGMAS):
            cases.append(parzen_case(*case, sigmas, limit))
            show_parzen(cases[-1], console)
            write_json(json_path, results)
    results["aims"] = aims(cases, layers)
    write_json(json_path, results)
    if not show_aims(results, console):
        raise SystemExit(1)  # a script that looks at nothing else is to know
