"""`gancli sample`."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from gancli.cli.console import print_json, result_console
from gancli.cli.options import backend_option, data_dir_option, device_option, json_option
from gancli.errors import UsageError

_DEFAULT_OUT = {"samples": "out.pt", "interpolate": "interpolation.png", "nearest": "nearest.png"}
_WALKS, _NEAREST = 5, 20


@click.command()
@click.option("--run", type=click.Path(path_type=Path), metavar="RUN", help="The run.  [the newest under runs/]")
@click.option(
    "--num",
    type=click.IntRange(min=1, max=100_000_000),
    metavar="N",
    help="Samples to draw; walks for --interpolate.  [10000; 100 for a .png; 5 walks; 20 for --nearest]",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help=".pt, .npy or .png; .png or .gif for --interpolate.  [out.pt, interpolation.png, nearest.png]",
)
@click.option("--interpolate", is_flag=True, help="Figure 3: walk in straight lines between points of z space.")
@click.option(
    "--closed", is_flag=True, help="With --interpolate: one closed loop through --num points instead of pairs."
)
@click.option("--steps", type=click.IntRange(2, 200), default=10, metavar="N", help="Pictures per walk.  [10]")
@click.option("--nearest", is_flag=True, help="Figure 2: the nearest training example beside each row of samples.")
@click.option("--checkpoint", type=click.Choice(["best", "last"]), default="best", help="Which one.  [best]")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), metavar="N", help="Seed of z.  [the run's]")
@data_dir_option
@device_option
@backend_option
@json_option
def sample(
    run: Path | None,
    num: int | None,
    out: Path | None,
    interpolate: bool,
    closed: bool,
    steps: int,
    nearest: bool,
    checkpoint: str,
    seed: int | None,
    data_dir: str | None,
    device: str,
    backend: str,
    as_json: bool,
) -> None:
    """Draw samples from a trained generator, as files and as the paper's figures.

    \b
    gancli sample                                  10,000 samples to out.pt, for gancli parzen
    gancli sample --num 100 --out grid.png         a picture
    gancli sample --interpolate                    Figure 3, as PNG and GIF
    gancli sample --nearest                        Figure 2
    """
    if interpolate and nearest:
        raise UsageError("--interpolate and --nearest are two pictures; ask for one at a time.")
    if closed and not interpolate:
        raise UsageError("--closed belongs to --interpolate.")
    kind = "interpolate" if interpolate else "nearest" if nearest else "samples"
    out = out or Path(_DEFAULT_OUT[kind])

    from gancli.train import sampling
    from gancli.train.run_folder import open_run

    trained = sampling.open_generator(open_run(run), device, which=checkpoint, backend=backend)
    seed = trained.config.seed if seed is None else seed
    result = {"run": str(trained.run.path), "seed": seed, "step": trained.step}
    if kind == "interpolate":
        files = sampling.save_walk(trained, out, rows=num or _WALKS, steps=steps, seed=seed, closed=closed)
    elif kind == "nearest":
        distances = sampling.save_neighbours(trained, out, num=num or _NEAREST, seed=seed, data_dir=data_dir)
        files, result["distances"] = [out], distances
    else:
        sampling.save_samples(trained, out, num=num, seed=seed, data_dir=data_dir)
        files = [out]
    result["files"] = [str(file) for file in files]
    if as_json:
        print_json(result)
        return
    console = result_console(as_json)
    console.print(f"{trained.run.path}, iteration {trained.step:,}, seed {seed}", markup=False)
    for file in files:
        console.print(f"  wrote {file}", markup=False)
    if out.suffix == ".pt":
        console.print(f"Score them with:\n  gancli parzen --samples {shlex.quote(str(out))}", markup=False)
