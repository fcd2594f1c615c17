"""A maxout layer beside eager torch and torch.compile: forward, backward, and both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click
import torch
import torch._functorch.config
from rich.console import Console
from torch import Tensor

from benchmarks.common import Contender, give_out, interleave, machine, machine_in_words, make_table
from gancli.ops import maxout

# batch, in, units, pieces: the layers of the MNIST and of the CIFAR-10 discriminator. D sees data and samples at once.
SHAPES = [(100, 784, 240, 5), (200, 784, 240, 5), (200, 240, 240, 5), (200, 3072, 1600, 5)]
# Largest error that may be timed, relative to the norm of the float64 result. Sums agree to 1e-6; a row that takes the
# other of two pieces which are equal up to rounding is one of 100 × 240 parts of the gradients, 6e-3 of their norm.
LARGEST_ERROR = 2e-2

Layer = Callable[[Tensor, Tensor, Tensor], Tensor]


def eager(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Compute as one writes it in torch."""
    units, pieces, inputs = weight.shape
    z = torch.nn.functional.linear(x, weight.view(units * pieces, inputs), bias.view(-1))
    return z.view(-1, units, pieces).max(dim=2).values


def operations(batch: int, inputs: int, units: int, pieces: int, part: str) -> float:
    """Floating-point operations that the layer needs: all pieces forward, the winning one backward, twice."""
    winners = 2.0 * batch * inputs * units
    return {"forward": pieces * winners, "backward": 2 * winners, "both": (pieces + 2) * winners}[part]


def contenders() -> dict[str, Layer]:
    """Name the ways to compute the layer; gancli is the first."""
    torch._dynamo.reset()
    torch._functorch.config.donated_buffer = False  # else a compiled graph runs backward only once
    return {
        "gancli": lambda x, weight, bias: maxout(x, weight, bias, backend="native"),
        "torch eager": eager,
        "torch.compile": torch.compile(eager),
    }


def compare(batch: int, inputs: int, units: int, pieces: int, rounds: int) -> list[dict[str, Any]]:
    """Check and time one shape; returns a case each for forward, backward and both."""
    x = torch.rand(batch, inputs).requires_grad_()
    weight = torch.randn(units, pieces, inputs).requires_grad_()
    bias = torch.randn(units, pieces).requires_grad_()
    v_y = torch.randn(batch, units)
    inputs_ = (x, weight, bias)
    layers = contenders()

    exact = [t.detach().double().requires_grad_() for t in inputs_]
    truth = eager(*exact)
    truths = [truth, *torch.autograd.grad(truth, exact, v_y.double())]
    errors = {}
    for name, layer in layers.items():
        y = layer(*inputs_)
        found = [y, *torch.autograd.grad(y, inputs_, v_y)]
        errors[name] = max(
            float((a.detach() - b.detach()).norm() / b.detach().norm()) for a, b in zip(found, truths, strict=True)
        )
        if not errors[name] < LARGEST_ERROR:
            raise SystemExit(f"{name} is off by {errors[name]:.1e} of the norm: nothing to time.")

    # The graph of one forward pass serves all timed backward passes.
    graphs = {name: layer(*inputs_) for name, layer in layers.items()}

    def run(name: str, layer: Layer, part: str) -> Callable[[], Tensor]:
        if part == "forward":
            return lambda: layer(*inputs_)
        if part == "backward":
            return lambda: torch.autograd.grad(graphs[name], inputs_, v_y, retain_graph=True)[0]
        return lambda: torch.autograd.grad(layer(*inputs_), inputs_, v_y)[0]

    cases = []
    for part in ("forward", "backward", "both"):
        timings = interleave([Contender(name, run(name, layer, part)) for name, layer in layers.items()], rounds=rounds)
        work = operations(batch, inputs, units, pieces, part)
        rows = [{**t.summary(work, timings[0]), "max_relative_error": errors[t.name]} for t in timings]
        shape = {"batch": batch, "in": inputs, "units": units, "pieces": pieces}
        cases.append({**shape, "part": part, "contenders": rows})
    return cases


def show(results: dict[str, Any], console: Console) -> None:
    """Print the table that people read."""
    console.print(machine_in_words(results["machine"]))
    table = make_table(
        "Maxout layers. The fraction counts only the winning pieces in backward passes",
        *("layer", "batch", "part", "", "ms (median)", "min – max", "of FMA peak", "times gancli", "max error"),
        words=("layer", "part", ""),
    )
    for case in results["cases"]:
        for n, row in enumerate(case["contenders"]):
            table.add_row(
                f"{case['in']} → {case['units']}×{case['pieces']}" if n == 0 else "",
                str(case["batch"]) if n == 0 else "",
                case["part"] if n == 0 else "",
                row["name"],
                f"{row['median_seconds'] * 1e3:.2f}",
                f"{row['min_seconds'] * 1e3:.2f} – {row['max_seconds'] * 1e3:.2f}",
                f"{row['fraction_of_peak']:.2f}",
                f"{row['times_gancli']:.2f}",
                f"{row['max_relative_error']:.0e}",
                end_section=n == len(case["contenders"]) - 1,
            )
    console.print(table)


@click.command("maxout")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@click.option("--rounds", default=31, show_default=True, type=click.IntRange(min=1), help="Interleaved rounds.")
def command(as_json: bool, rounds: int) -> None:
    """Measure maxout layers of the paper's discriminators, forward and backward."""
    torch.manual_seed(0)
    cases = [case for shape in SHAPES for case in compare(*shape, rounds)]
    results: dict[str, Any] = {"machine": machine(), "cases": cases}
    give_out(results, as_json, show)
