"""Table 1's MNIST row: several seeds, each chosen by validation alone, and what puts the figure into proportion."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from gancli.config import Config
from gancli.data.dataset import Dataset
from gancli.errors import UsageError
from gancli.reproduce import context
from gancli.reproduce.baselines import BASELINES, CENTROIDS, KMEANS_ITERATIONS, TRAINING
from gancli.reproduce.data import load_checked
from gancli.reproduce.kept import Kept, data_sha256
from gancli.reproduce.markdown import table1_markdown
from gancli.reproduce.results import circumstances, over_seeds, published_row, run_row, write_result
from gancli.reproduce.runs import PlannedRun, finish_run, plan_run
from gancli.reproduce.starts import START_EPOCHS, Starts
from gancli.reproduce.targets import Target
from gancli.reproduce.timing import Speed, announce, in_words
from gancli.reproduce.watch import Watch
from gancli.train.generate import versions
from gancli.train.sampling import open_generator
from gancli.train.setup import resolve_device

CONTEXT_FILE = "context.json"
YARDSTICK = 220.0  # nats on the validation examples: the paper's figure is in sight; rows tell when it was passed


def reproduce_table1(
    target: Target,
    out: Path,
    *,
    preset: str,
    seeds: int,
    starts: int | None = None,
    start_epochs: int | None = None,
    changes: Mapping[str, Any],
    curve_samples: int = context.CURVE_SAMPLES,
    watch: Watch,
) -> dict[str, Any]:
    """Train several seeds, score each, and set the row beside the paper's and beside samples that no model made.

    Whatever lies finished in `out` is taken as it is, whatever was begun is gone on with.

    Args:
        target: data set, published rows.
        out: holds seed-1, seed-2, … (ordinary run folders), context.json, result.json and result.md; starts.json where
            starts diverged.
        preset: what is trained.
        seeds: how many: 1 … n, or of more starts those that validation finds best after a few epochs.
        starts: how many seeds are begun; None for as many as go on.
        start_epochs: after how many epochs the choice among more starts is made; None for START_EPOCHS.
        changes: fields of the configuration that were given one by one (epochs, data_dir, device, …).
        curve_samples: how far the curve over the number of samples goes.
        watch: takes what there is to tell.

    Returns:
        The content of result.json.

    Raises:
        Stopped: a signal ended a training; the same call goes on.
        GancliError: data are missing, or `out` holds other runs.
    """
    begun = seeds if starts is None else starts
    if begun < seeds:
        raise UsageError(f"--starts must be at least as many as --seeds; got {begun} starts for {seeds} seeds.")
    if start_epochs is not None and begun == seeds:
        raise UsageError(f"--start-epochs says when {seeds} seeds are chosen among more; name how many with --starts.")
    configs = [target.config(preset, {**changes, "seed": seed}) for seed in range(1, begun + 1)]
    device = resolve_device(configs[0].device)
    dataset, warnings = load_checked(target, configs[0].data_dir)
    plans = [plan_run(out / f"seed-{config.seed}", config, len(dataset.train)) for config in configs]
    contest = Starts(plans, go_on=seeds, epochs=start_epochs or START_EPOCHS, out=out) if begun > seeds else None
    speed = contest.announce(watch) if contest else announce(plans, out, watch)
    if speed is not None:
        seconds = _context_seconds(speed, curve_samples, Kept(out / CONTEXT_FILE).names())
        watch.say(f"then about {in_words(seconds)} to put the figure into context")
    finished = {}
    for plan, summary in contest.finish(watch) if contest else _finish(plans, watch):
        finished[plan.config.seed] = plan, run_row(plan, summary, YARDSTICK)
        watch.say(_one_line(finished[plan.config.seed][1]))
    plans, rows = map(list, zip(*(finished[seed] for seed in sorted(finished)), strict=True))
    result = {
        "target": target.name,
        "preset": preset,
        "model": _model(target, configs[0]),
        "dataset": dataset.name,
        "published": [published_row(row) for row in target.table],
        "paper": published_row(target.paper),
        **over_seeds(rows),
        "seeds": rows,
        **({"starts": contest.as_dict()} if contest else {}),
        **_context(plans[0], dataset, out, device, curve_samples, watch),
        "config": plans[0].config.as_dict(),
        **circumstances(device),
    }
    result["error_bars"] = _error_bars(result)
    result["warnings"] = [*warnings, *_warnings(result)]
    write_result(out, result, table1_markdown(result))
    return result


def _model(target: Target, config: Config) -> str:
    """Return what the row is called: the preset, with an average of G's weights if the preset has another."""
    changed = config.average != target.config(config.preset, {}).average
    return f"{config.preset} --average {config.average:g}" if changed else config.preset


def _finish(plans: Sequence[PlannedRun], watch: Watch) -> Iterator[tuple[PlannedRun, dict[str, Any]]]:
    """Train every run to its end; yields it with its final figures."""
    for plan in plans:
        yield plan, finish_run(plan, watch.reporter())


def _context_seconds(speed: Speed, curve_samples: int, known: set[str]) -> float:
    """Estimate the scoring to come, in units of one score of 10,000 samples.

    A turn of k-means compares every training image, five times as many as test images, with every centroid.
    """
    to_come = context.DRAWS + curve_samples / 10_000 + 1
    for baseline in BASELINES:
        if baseline.name not in known:
            to_come += 5 * KMEANS_ITERATIONS if baseline is CENTROIDS else 1
    return speed.score * to_come


def _context(
    plan: PlannedRun, dataset: Dataset, out: Path, device: torch.device, curve_samples: int, watch: Watch
) -> dict[str, Any]:
    """Return what stands beside the figure: baselines for everybody, details of the first run's generator."""
    kept = Kept(out / CONTEXT_FILE, {"data": data_sha256(dataset), "versions": versions()})
    backend = plan.config.backend
    trained = open_generator(plan.run, plan.config.device, backend=backend)
    rows = context.baseline_rows(
        kept, dataset, trained.preprocessing, plan.config.num_samples, device, backend, watch.say
    )
    with watch.counting("samples", curve_samples) as progress:
        curve = context.figure_over_samples(kept, trained, dataset, curve_samples, backend, progress)
    return {
        "baselines": rows,
        "draws": context.figure_over_draws(kept, trained, dataset, backend, watch.say),
        "on_training_images": context.figure_on_training_images(kept, trained, dataset, backend, watch.say),
        "over_samples": curve,
    }


def _error_bars(result: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the three kinds, in nats: over test images, over draws of samples, over training seeds."""
    return {
        "test_images": result["standard_error"],
        "draws": statistics.stdev(result["draws"]),
        "seeds": result["spread"],
    }


def _warnings(result: Mapping[str, Any]) -> list[str]:
    """Return sentences on what makes the figure say less than it seems to."""
    found = sorted({sentence for row in result["seeds"] for sentence in row["warnings"]})
    real = result["baselines"][TRAINING.name]["estimate"]["log_likelihood"]
    if result["highest"] > real:
        found.append(
            f"The best seed's {result['highest']:,.1f} nats pass the {real:,.1f} of training images used as samples: "
            "from there on a higher Parzen figure does not mean better samples."
        )
    return found


def _one_line(row: Mapping[str, Any]) -> str:
    reached = row["reached"]
    passed = ""
    if reached["epoch"] is not None:
        passed = (
            f"; validation passed {reached['validation_log_likelihood']:g} nats in epoch {reached['epoch']}, after "
            f"{in_words(reached['training_seconds'])} of training"
        )
    return (
        f"seed {row['seed']}: {row['log_likelihood']:,.2f} ± {row['standard_error']:,.2f} nats on test, from epoch "
        f"{row['best_epoch']} of {row['epochs']}{passed}"
    )
