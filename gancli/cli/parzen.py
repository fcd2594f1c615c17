"""`gancli parzen`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gancli.cli.console import counting, print_json, result_console, warn
from gancli.cli.options import backend_option, data_dir_option, device_option, json_option
from gancli.errors import UsageError

if TYPE_CHECKING:
    from gancli.train.parzen import ParzenFigure


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
@click.option(
    "--plot",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Draw the curve over σ; of more than 10000 samples of a run, over their number.",
)
@data_dir_option
@device_option
@backend_option
@json_option
def parzen(sigma: float | None, sigmas: str | None, plot: Path | None, as_json: bool, **request: Any) -> None:
    """Score samples by Parzen-window log-likelihood, the protocol of Table 1.

    \b
    gancli parzen                                      the newest run
    gancli parzen --samples out.pt --plot parzen.png   a samples file
    gancli parzen --samples other.npy --dataset mnist  samples of any other model
    gancli parzen --num-samples 1000000                as many as you like, memory flat
    """
    if request["samples"] is not None and request["run"] is not None:
        raise UsageError("--samples and --run both say what to score; give one of them.")
    if request["samples"] is not None and request["seed"] is not None:
        raise UsageError("--seed is for samples that a run draws; those of --samples are drawn. Leave --seed out.")
    grid = _grid(sigma, sigmas)
    if plot is not None:
        from gancli.figures.style import check_figure

        check_figure(plot)

    from gancli.ranks import current
    from gancli.train.parzen import ParzenRequest, score

    ranks = current()
    found = score(ParzenRequest(**request, sigmas=grid), ranks=ranks, counting=counting)
    for sentence in found.scored.warnings:
        warn(sentence)
    if as_json:
        print_json(_as_json(found))
    else:
        _print(found)
    if plot is not None and ranks.leads:  # last, so that the figure is there whatever becomes of its picture
        _plot(plot, found)
        result_console(as_json).print(f"  wrote       {plot}", markup=False)


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


def _as_json(found: ParzenFigure) -> dict[str, Any]:
    scored, first = found.scored, found.scored.scores[0]
    content = {
        "log_likelihood": scored.log_likelihood,
        "standard_error": scored.standard_error,
        "sigma": first.estimate.sigma,
        "sigmas": first.sigmas,
        "validation_log_likelihood": first.validation_log_likelihood,
        "validation_log_likelihoods": first.validation_log_likelihoods,
        "refined": None if first.refined is None else vars(first.refined),
        "num_samples": first.num_samples,
        "num_test": first.num_test,
        "num_validation": first.num_validation,
        "folds": [score.estimate.log_likelihood for score in scored.scores] if len(scored.scores) > 1 else None,
        "dataset": found.dataset,
        "backend": found.backend,
        "seconds": _seconds(found),
        "warnings": list(scored.warnings),
    }
    if found.convergence is not None:
        content["convergence"] = [vars(row) for row in found.convergence]
    return content


def _seconds(found: ParzenFigure) -> float:
    """Return how long scoring took: folds one after the other, or of a stream all of them at once."""
    seconds = [score.seconds for score in found.scored.scores]
    return sum(seconds) if found.convergence is None else max(seconds)


def _print(found: ParzenFigure) -> None:
    from dataclasses import asdict

    from gancli.cli.scores import describe, figure

    scored, console = found.scored, result_console(False)
    if found.convergence is not None:
        console.print(f"{'samples':>12}  {'log-likelihood/nats':>20}  {'σ':>7}", markup=False)
        for row in found.convergence:
            console.print(f"{row.num_samples:>12,}  {figure(vars(row)):>20}  {row.sigma:>7.4f}", markup=False)
    console.print(
        f"{found.dataset}, Parzen-window log-likelihood, mean ± standard error over test examples", markup=False
    )
    for number, score in enumerate(scored.scores):
        if len(scored.scores) > 1:
            console.print(f"Fold {number}", markup=False)
        for heading, text in describe(asdict(score)):
            console.print(f"  {heading:<11} {text}", markup=False)
    if len(scored.scores) > 1:
        console.print(
            f"Mean over {len(scored.scores)} folds {figure(vars(scored))} nats (standard error across folds)",
            markup=False,
        )


def _plot(path: Path, found: ParzenFigure) -> None:
    """Draw the figure over the number of samples where they were streamed, else validation over σ."""
    if found.convergence is not None:
        from gancli.figures.convergence import save_convergence

        rows = [(row.num_samples, row.log_likelihood, row.standard_error) for row in found.convergence]
        counts, means, errors = zip(*rows, strict=True)
        title = f"{found.dataset}: Parzen log-likelihood of {Path(found.run or '').name}"
        save_convergence(path, counts, means, errors, title)
        return
    from gancli.figures.curves import save_sigma_curve

    score = found.scored.scores[0]
    refined = (score.refined_sigmas, score.refined_log_likelihoods) if score.refined else None
    save_sigma_curve(
        path,
        score.sigmas,
        score.validation_log_likelihoods,
        score.estimate.sigma,
        score.validation_log_likelihood,
        refined,
        f"{found.dataset}: validation log-likelihood, {score.num_samples:,} samples",
    )
