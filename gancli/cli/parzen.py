"""`gancli parzen`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gancli.cli.console import counting, print_json, result_console, warn
from gancli.cli.options import backend_option, data_dir_option, device_option, json_option
from gancli.errors import UsageError

if TYPE_CHECKING:
    from gancli.evaluate.scoring import ScoredSamples
    from gancli.ranks import Ranks


@click.command()
@click.option(
    "--samples",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help=".pt, .npy, .npz or a folder of images, from any model.  [samples of the run]",
)
@click.option("--run", type=click.Path(path_type=Path), metavar="RUN", help="A run to score.  [the newest under runs/]")
@click.option("--dataset", metavar="NAME", help="What the samples imitate.  [what the samples file says]")
@click.option("--sigma", type=float, metavar="X", help="Take this kernel width instead of choosing one.")
@click.option("--sigmas", metavar="LO:HI:N", help="Choose among N log-spaced widths.  [0.1:1:10, the paper's]")
@click.option("--num-samples", type=click.IntRange(min=1), metavar="N", help="Samples to use.  [all; 10000 of a run]")
@click.option("--num-validation", type=click.IntRange(min=1), metavar="N", help="Examples that choose σ.  [1000]")
@click.option("--fold", type=click.IntRange(0, 4), metavar="N", help="TFD: one fold instead of all five.")
@click.option(
    "--preprocessing", metavar="scale|gcn|none", help="Space of samples from elsewhere.  [scale: pixels in 0..1]"
)
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), metavar="N", help="Seed of samples drawn from a run.")
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Draw the curve over σ.")
@data_dir_option
@device_option
@backend_option
@json_option
def parzen(
    samples: Path | None,
    run: Path | None,
    dataset: str | None,
    sigma: float | None,
    sigmas: str | None,
    num_samples: int | None,
    num_validation: int | None,
    fold: int | None,
    preprocessing: str | None,
    seed: int | None,
    plot: Path | None,
    data_dir: str | None,
    device: str,
    backend: str,
    as_json: bool,
) -> None:
    """Score samples by Parzen-window log-likelihood, the protocol of Table 1.

    \b
    gancli parzen                                      the newest run
    gancli parzen --samples out.pt --plot parzen.png   a samples file
    gancli parzen --samples other.npy --dataset mnist  samples of any other model
    gancli parzen --num-samples 1000000                as many as you like, memory flat
    """
    if samples is not None and run is not None:
        raise UsageError("--samples and --run both say what to score; give one of them.")
    grid = _grid(sigma, sigmas)

    from gancli.data.registry import load
    from gancli.evaluate.scoring import PAPER_NUM_SAMPLES, score_samples
    from gancli.ranks import current
    from gancli.train.sampling import samples_to_score
    from gancli.train.setup import resolve_device

    ranks = current()
    device = ranks.device(device)
    chosen_device = resolve_device(device)
    if samples is None and num_samples is not None and num_samples > PAPER_NUM_SAMPLES:
        _stream(
            run,
            num_samples,
            grid,
            dataset,
            num_validation=num_validation,
            fold=fold,
            seed=seed,
            plot=plot,
            data_dir=data_dir,
            device=device,
            backend=backend,
            ranks=ranks,
            as_json=as_json,
        )
        return
    file, data_dir = samples_to_score(samples, run, num_samples, seed, device, backend, data_dir, ranks)
    name = dataset or file.dataset
    if name is None:
        raise UsageError(f"{samples} does not say what it imitates; name the data set with --dataset.")
    if dataset and file.dataset and dataset != file.dataset:
        warn(f"The samples were made for {file.dataset} and are scored against {dataset}.")
    scored = score_samples(
        file,
        load(name, data_dir, fold=fold or 0),
        sigmas=grid,
        num_validation=num_validation,
        fold=fold,
        preprocessing=preprocessing,
        device=chosen_device,
        backend=backend,
        ranks=ranks,
    )
    if plot is not None and ranks.leads:
        _plot(plot, scored, name)
    for sentence in scored.warnings:
        warn(sentence)
    if as_json:
        print_json(_as_json(scored, name, _backend_used(backend, chosen_device.type)))
    else:
        _print(scored, name, plot)


def _grid(sigma: float | None, sigmas: str | None) -> list[float]:
    from gancli.evaluate.parzen import PAPER_SIGMAS, log_spaced

    if sigma is not None and sigmas is not None:
        raise UsageError("--sigma and --sigmas both say which widths to try; give one of them.")
    if sigma is not None:
        if not 0 < sigma < float("inf"):
            raise UsageError(f"--sigma must be a positive number, got {sigma}.")
        return [sigma]
    if sigmas is None:
        return list(PAPER_SIGMAS)
    try:
        low, high, count = sigmas.split(":")
        return log_spaced(float(low), float(high), int(count))
    except ValueError as error:
        reason = f": {error}" if "grid" in str(error) else ""
        raise UsageError(f"--sigmas must be LO:HI:N such as 0.1:1:10, got {sigmas!r}{reason}") from None


def _stream(
    run: Path | None,
    num: int,
    grid: list[float],
    dataset: str | None,
    *,
    num_validation: int | None,
    fold: int | None,
    seed: int | None,
    plot: Path | None,
    data_dir: str | None,
    device: str,
    backend: str,
    ranks: Ranks,
    as_json: bool,
) -> None:
    """Score more samples than are kept: draw, fold in, forget."""
    from gancli.data.registry import load
    from gancli.evaluate.scoring import summarise
    from gancli.figures.convergence import save_convergence
    from gancli.train.run_folder import open_run
    from gancli.train.sampling import open_generator, stream_of_run

    trained = open_generator(open_run(run), device, backend=backend)
    name = dataset or trained.config.dataset
    with counting("samples", num) as progress:
        scores, rows = stream_of_run(
            trained,
            load(name, data_dir or trained.config.data_dir, fold=fold or 0),
            num,
            trained.config.seed if seed is None else seed,
            sigmas=grid,
            num_validation=num_validation,
            fold=fold,
            backend=backend,
            ranks=ranks,
            progress=progress,
        )
    if plot is not None and ranks.leads:
        counts, means, errors = zip(*((r.num_samples, r.log_likelihood, r.standard_error) for r in rows), strict=True)
        save_convergence(plot, counts, means, errors, f"{name}: Parzen log-likelihood of {trained.run.path.name}")
    scored = summarise(scores)
    for sentence in scored.warnings:
        warn(sentence)
    if as_json:
        table = [vars(row) for row in rows]
        print_json({**_as_json(scored, name, _backend_used(backend, trained.device.type)), "convergence": table})
        return
    console = result_console(False)
    console.print(f"{'samples':>12}  {'log-likelihood/nats':>20}  {'σ':>7}", markup=False)
    for row in rows:
        mean = f"{row.log_likelihood:,.2f} ± {row.standard_error:,.2f}"
        console.print(f"{row.num_samples:>12,}  {mean:>20}  {row.sigma:>7.4f}", markup=False)
    _print(scored, name, plot)


def _backend_used(backend: str, device_type: str) -> str:
    from gancli.ops import native

    module = native.choose(backend, operation="parzen_log_sum_exp", device_type=device_type, supported=True, why_not="")
    return "torch" if module is None else "native"


def _as_json(scored: ScoredSamples, name: str, backend: str) -> dict[str, Any]:
    first = scored.scores[0]
    refined = first.refined
    return {
        "log_likelihood": scored.log_likelihood,
        "standard_error": scored.standard_error,
        "sigma": first.estimate.sigma,
        "sigmas": first.sigmas,
        "validation_log_likelihood": first.validation_log_likelihood,
        "validation_log_likelihoods": first.validation_log_likelihoods,
        "refined": None
        if refined is None
        else {
            "log_likelihood": refined.log_likelihood,
            "standard_error": refined.standard_error,
            "sigma": refined.sigma,
        },
        "num_samples": first.num_samples,
        "num_test": first.num_test,
        "num_validation": first.num_validation,
        "folds": [score.estimate.log_likelihood for score in scored.scores] if len(scored.scores) > 1 else None,
        "dataset": name,
        "backend": backend,
        "seconds": sum(score.seconds for score in scored.scores),
    }


def _print(scored: ScoredSamples, name: str, plot: Path | None) -> None:
    from dataclasses import asdict

    from gancli.cli.scores import describe

    console = result_console(False)
    console.print(f"{name}, Parzen-window log-likelihood, mean ± standard error over test examples", markup=False)
    for number, score in enumerate(scored.scores):
        if len(scored.scores) > 1:
            console.print(f"Fold {number}", markup=False)
        for heading, text in describe(asdict(score)):
            console.print(f"  {heading:<11} {text}", markup=False)
    if len(scored.scores) > 1:
        console.print(
            f"Mean over {len(scored.scores)} folds {scored.log_likelihood:,.2f} ± {scored.standard_error:,.2f} nats "
            "(standard error across folds)",
            markup=False,
        )
    if plot is not None:
        console.print(f"  wrote       {plot}", markup=False)


def _plot(path: Path, scored: ScoredSamples, name: str) -> None:
    from gancli.figures.curves import save_sigma_curve

    score = scored.scores[0]
    refined = (score.refined_sigmas, score.refined_log_likelihoods) if score.refined else None
    save_sigma_curve(
        path,
        score.sigmas,
        score.validation_log_likelihoods,
        score.estimate.sigma,
        score.validation_log_likelihood,
        refined,
        f"{name}: validation log-likelihood, {score.num_samples:,} samples",
    )
