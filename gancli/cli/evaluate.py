"""`gancli evaluate`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gancli.cli.console import print_json, progress_console, result_console, warn
from gancli.cli.options import backend_option, data_dir_option, device_option, json_option
from gancli.errors import UsageError

if TYPE_CHECKING:
    from gancli.evaluate.evaluation import Evaluation


@click.command()
@click.argument("run", type=click.Path(path_type=Path), metavar="[RUN]", required=False)
@click.option("--run", "run_option", type=click.Path(path_type=Path), metavar="RUN", help="The same as the argument.")
@click.option(
    "--samples",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help=".pt, .npy, .npz or a folder of images, from any model.  [samples of the run]",
)
@click.option("--dataset", metavar="NAME", help="What the samples imitate.  [what the samples file says]")
@click.option("--num-samples", type=click.IntRange(min=1), metavar="N", help="Samples to use.  [all; 10000 of a run]")
@click.option("--fold", type=click.IntRange(0, 4), metavar="N", help="TFD: the fold to test on.  [the run's, else 0]")
@click.option("--neighbours", type=click.IntRange(min=1), default=5, metavar="K", help="Of precision and recall.  [5]")
@click.option("--bandwidth", type=float, metavar="H", help="Of MMD's kernel.  [median distance within the data]")
@click.option(
    "--preprocessing", metavar="scale|gcn|none", help="Space of samples from elsewhere.  [scale: pixels in 0..1]"
)
@click.option(
    "--seed", type=click.IntRange(0, 2**31 - 1), metavar="N", help="Of the discriminator and a run's samples."
)
@data_dir_option
@device_option
@backend_option
@json_option
def evaluate(
    run: Path | None,
    run_option: Path | None,
    samples: Path | None,
    dataset: str | None,
    num_samples: int | None,
    fold: int | None,
    neighbours: int,
    bandwidth: float | None,
    preprocessing: str | None,
    seed: int | None,
    data_dir: str | None,
    device: str,
    backend: str,
    as_json: bool,
) -> None:
    """Bound a model's Jensen-Shannon divergence, and measure precision, recall, density, coverage and MMD.

    \b
    gancli evaluate                                      the newest run
    gancli evaluate runs/mnist --json                    another one
    gancli evaluate --samples other.npy --dataset mnist  samples of any other model
    """
    if sum(source is not None for source in (run, run_option, samples)) > 1:
        raise UsageError("RUN, --run and --samples all say what to evaluate; give one of them.")
    if bandwidth is not None and not 0 < bandwidth < float("inf"):
        raise UsageError(f"--bandwidth must be a positive number, got {bandwidth}.")

    from gancli.data.registry import load
    from gancli.evaluate.evaluation import evaluate_samples
    from gancli.evaluate.scoring import dataset_of
    from gancli.train.run_folder import open_run
    from gancli.train.sampling import samples_to_score
    from gancli.train.setup import resolve_device

    file, data_dir = samples_to_score(samples, run or run_option, num_samples, seed, device, backend, data_dir)
    name, beware = dataset_of(file.dataset, dataset, samples)
    if fold is None:
        fold = 0 if samples else open_run(run or run_option).config().fold
    aside = progress_console()
    found = evaluate_samples(
        file,
        load(name, data_dir, fold=fold),
        neighbours=neighbours,
        bandwidth=bandwidth,
        preprocessing=preprocessing,
        seed=1 if seed is None else seed,
        device=resolve_device(device),
        backend=backend,
        note=lambda words: aside.print(f"… {words}", markup=False),
    )
    for sentence in (*beware, *found.warnings):
        warn(sentence)
    if as_json:
        print_json({"dataset": name, "run": file.run, **dataclasses.asdict(found)})
        return
    console = result_console(as_json)
    console.print(f"{name}, {found.num_samples:,} samples against {found.num_data:,} test examples", markup=False)
    for heading, text in _describe(found):
        console.print(f"  {heading:<11} {text}", markup=False)


def _describe(found: Evaluation) -> list[tuple[str, Any]]:
    jsd, shared, mmd = found.jsd, found.overlap, found.mmd
    return [
        ("JSD", f"at least {jsd.low:.4f} nats (log 2 = 0.6931 is the most), by a fresh discriminator, 95 % confidence"),
        (
            "  its bound",
            f"{jsd.bound:.4f} nats (standard error {jsd.standard_error:.4f}), interval {jsd.low:.4f} to {jsd.high:.4f}"
            "; a better one may find more",
        ),
        (
            "  from",
            f"{jsd.num_data:,} test examples and {jsd.num_samples:,} samples it had not seen, {jsd.accuracy:.1%} told "
            "apart",
        ),
        ("precision", f"{shared.precision:.4f}   samples among the data (k = {shared.neighbours} neighbours)"),
        ("recall", f"{shared.recall:.4f}   data among the samples"),
        ("density", f"{shared.density:.4f}   1 where both follow one density"),
        ("coverage", f"{shared.coverage:.4f}   data with a sample near by"),
        ("MMD²", f"{mmd.mmd_squared:.3e} ± {mmd.standard_error:.1e}, unbiased; {mmd.kernel}, h = {mmd.bandwidth:.4g}"),
        ("  its ±", "one standard error, on the safe side where the distributions agree"),
        ("time", f"{found.seconds:.1f} s"),
    ]
