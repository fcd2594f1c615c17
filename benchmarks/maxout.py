"""Maxout layers beside eager torch and torch.compile, maxout convolutions beside eager: forward, backward, both."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import click
import torch
import torch._functorch.config
from rich.console import Console
from torch import Tensor

from benchmarks.common import Contender, give_out, interleave, machine, machine_in_words, make_table
from gancli.ops import maxout, maxout_conv2d, maxout_conv2d_reference

# batch, in, units, pieces: the layers of the MNIST and of the CIFAR-10 discriminator. D sees data and samples at once.
SHAPES = [(100, 784, 240, 5), (200, 784, 240, 5), (200, 240, 240, 5), (200, 3072, 1600, 5)]
# batch, in, side, channels, pieces, kernel, pad, pool, stride: the convolutions of the discriminator of cifar10-conv.
CONVOLUTIONS = [
    (256, 3, 32, 32, 2, 8, 4, 4, 2),
    (256, 32, 16, 32, 2, 8, 3, 4, 2),
    (256, 32, 7, 192, 2, 5, 3, 2, 2),
]
# Largest error that may be timed, relative to the norm of the float64 result. Sums agree to 1e-6; a row that takes the
# other of two pieces which are equal up to rounding is one of 100 × 240 parts of the gradients, 6e-3 of their norm.
LARGEST_ERROR = 2e-2

PARTS = ("forward", "backward", "both")
Layer = Callable[..., Tensor]


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
    """Check and time one maxout layer; returns a case each for forward, backward and both."""
    tensors = (torch.rand(batch, inputs), torch.randn(units, pieces, inputs), torch.randn(units, pieces))
    work = {part: operations(batch, inputs, units, pieces, part) for part in PARTS}
    about = {"layer": f"{inputs} → {units}×{pieces}", "batch": batch}
    return [{**about, **case} for case in measure(tensors, contenders(), eager, work, rounds)]


def compare_convolution(
    batch: int, inputs: int, side: int, channels: int, pieces: int, kernel: int, *window: int, rounds: int
) -> list[dict[str, Any]]:
    """Check and time one maxout convolution; `window` is pad, pool and stride."""
    settings = {"pieces": pieces, **dict(zip(("pad", "pool", "stride"), window, strict=True))}
    weight = torch.randn(channels * pieces, inputs, kernel, kernel)
    tensors = (torch.randn(batch, inputs, side, side), weight, torch.randn(channels * pieces))
    layers: dict[str, Layer] = {
        "gancli": lambda *tensors: maxout_conv2d(*tensors, **settings, backend="native"),
        "torch eager": lambda *tensors: maxout_conv2d_reference(*tensors, **settings),
    }
    winners = 2.0 * layers["torch eager"](*tensors).numel() * inputs * kernel**2
    dense = 2.0 * batch * (side + 2 * settings["pad"] - kernel + 1) ** 2 * weight.numel()
    work = {"forward": dense, "backward": 2 * winners, "both": dense + 2 * winners}
    about = {"layer": f"{inputs}×{side}×{side} → {channels}×{pieces}, kernel {kernel}", "batch": batch}
    return [{**about, **case} for case in measure(tensors, layers, layers["torch eager"], work, rounds)]


def measure(
    tensors: tuple[Tensor, ...], layers: Mapping[str, Layer], truth: Layer, work: Mapping[str, float], rounds: int
) -> list[dict[str, Any]]:
    """Check the ways to compute a layer of x, weight and bias against `truth` in float64, and time them."""
    inputs = [t.requires_grad_() for t in tensors]
    exact = [t.detach().double().requires_grad_() for t in inputs]
    y = truth(*exact)
    v_y = torch.randn(y.shape)
    truths = [y, *torch.autograd.grad(y, exact, v_y.double())]
    errors = {}
    for name, layer in layers.items():
        y = layer(*inputs)
        found = [y, *torch.autograd.grad(y, inputs, v_y)]
        errors[name] = max(
            float((a.detach() - b.detach()).norm() / b.detach().norm()) for a, b in zip(found, truths, strict=True)
        )
        if not errors[name] < LARGEST_ERROR:
            raise SystemExit(f"{name} is off by {errors[name]:.1e} of the norm: nothing to time.")

    # The graph of one forward pass serves all timed backward passes.
    graphs = {name: layer(*inputs) for name, layer in layers.items()}

    def run(name: str, layer: Layer, part: str) -> Callable[[], Tensor]:
        if part == "forward":
            return lambda: layer(*inputs)
        if part == "backward":
            return lambda: torch.autograd.grad(graphs[name], inputs, v_y, retain_graph=True)[0]
        return lambda: torch.autograd.grad(layer(*inputs), inputs, v_y)[0]

    cases = []
    for part in PARTS:
        timings = interleave([Contender(name, run(name, layer, part)) for name, layer in layers.items()], rounds=rounds)
        rows = [{**t.summary(work[part], timings[0]), "max_relative_error": errors[t.name]} for t in timings]
        cases.append({"part": part, "contenders": rows})
    return cases


def show(results: dict[str, Any], console: Console) -> None:
    """Print the tables that people read."""
    console.print(machine_in_words(results["machine"]))
    console.print("Of the peak: in backward passes only the winning pieces count.")
    for (layer, batch), cases in itertools.groupby(results["cases"], lambda case: (case["layer"], case["batch"])):
        columns = ("part", "", "ms", "min – max", "of peak", "× gancli", "error")
        table = make_table(f"{layer}, batch {batch}", *columns, words=("part", ""))
        for case in cases:
            for n, row in enumerate(case["contenders"]):
                table.add_row(
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
@click.option("--layers", type=click.Choice(["dense", "conv"]), help="Only these.")
def command(as_json: bool, rounds: int, layers: str | None) -> None:
    """Measure maxout layers of the paper's discriminators, forward and backward."""
    torch.manual_seed(0)
    cases: list[dict[str, Any]] = []
    if layers != "conv":
        cases += [case for shape in SHAPES for case in compare(*shape, rounds)]
    if layers != "dense":
        cases += [case for shape in CONVOLUTIONS for case in compare_convolution(*shape, rounds=rounds)]
    results: dict[str, Any] = {"machine": machine(), "cases": cases}
    give_out(results, as_json, show)
