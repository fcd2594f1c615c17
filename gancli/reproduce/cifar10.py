"""Figure 2 c and d: CIFAR-10 configurations, their grids, and whether their samples differ as the data do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gancli.data.dataset import Dataset
from gancli.reproduce.data import load_checked
from gancli.reproduce.diversity import compare_diversity
from gancli.reproduce.figures import panel_of
from gancli.reproduce.markdown import cifar10_markdown
from gancli.reproduce.results import circumstances, run_row, write_result
from gancli.reproduce.runs import PlannedRun, finish_run, plan_run
from gancli.reproduce.targets import Target
from gancli.reproduce.timing import announce
from gancli.reproduce.watch import Watch
from gancli.train.sampling import draw, open_generator, save_neighbours
from gancli.train.setup import resolve_device


def reproduce_cifar10(
    target: Target, out: Path, *, presets: Sequence[str], changes: Mapping[str, Any], watch: Watch
) -> dict[str, Any]:
    """Train the configurations one after another and draw each one's grid.

    Args:
        target: the data set.
        out: holds a run folder and a grid for each preset, result.json and result.md.
        presets: what is trained.
        changes: fields of every configuration that were given one by one.
        watch: takes what there is to tell.

    Returns:
        The content of result.json.

    Raises:
        Stopped: a signal ended a training; the same call goes on.
        GancliError: the data are missing, or `out` holds other runs.

    Source: Figure 2 c and d of the paper.
    """
    configs = [target.config(preset, changes) for preset in presets]
    device = resolve_device(configs[0].device)
    dataset, warnings = load_checked(target, configs[0].data_dir)
    plans = [plan_run(out / config.preset, config, len(dataset.train)) for config in configs]
    rows = []
    for plan in plans:
        announce([plan], out, watch)
        row = run_row(plan, finish_run(plan, watch.reporter()))
        look, beware = _look(plan, dataset, out)
        rows.append({**row, **look, "warnings": [*row["warnings"], *beware]})
    result = {
        "target": target.name,
        "dataset": dataset.name,
        "runs": rows,
        "warnings": [*warnings, *(f"{row['preset']}: {sentence}" for row in rows for sentence in row["warnings"])],
        **circumstances(device),
    }
    write_result(out, result, cifar10_markdown(result))
    return result


def _look(plan: PlannedRun, dataset: Dataset, out: Path) -> tuple[dict[str, Any], list[str]]:
    """Draw the run's panel of Figure 2 and compare its samples' distances with the data's; with what to beware of."""
    panel, preset = panel_of(plan.config.preset), plan.config.preset
    trained = open_generator(plan.run, plan.config.device, backend=plan.config.backend)
    picture = out / (f"{panel.name}.png" if preset == panel.presets[0] else f"{panel.name}-{preset}.png")
    seed, data_dir = plan.config.seed, plan.config.data_dir
    save_neighbours(trained, picture, num=20, seed=seed, data_dir=data_dir)
    samples = draw(trained, plan.config.num_samples, seed)
    diversity = compare_diversity(samples, trained.preprocessing(dataset.train[: len(samples)].to(samples.device)))
    look = {
        "picture": str(picture),
        "samples_distance": diversity.samples,
        "data_distance": diversity.data,
        "distance_ratio": diversity.ratio,
    }
    return look, [] if diversity.warning is None else [diversity.warning]
