"""Table 1's TFD column: two stages of training, then five folds of validation and test images."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gancli.data.dataset import Dataset
from gancli.data.samples import read_samples
from gancli.errors import UsageError
from gancli.evaluate.scoring import score_samples
from gancli.files import atomic_write_text
from gancli.reproduce.data import load_checked
from gancli.reproduce.kept import Kept, data_sha256, file_sha256
from gancli.reproduce.markdown import tfd_markdown
from gancli.reproduce.results import circumstances, published_row, run_row, write_result
from gancli.reproduce.runs import PlannedRun, finish_run, plan_run
from gancli.reproduce.targets import Target
from gancli.reproduce.timing import announce
from gancli.reproduce.watch import Watch
from gancli.train.generate import versions
from gancli.train.setup import resolve_device

FOLDS_FILE, STAGES_FILE = "folds.json", "stages.json"


def reproduce_tfd(target: Target, out: Path, *, changes: Mapping[str, Any], watch: Watch) -> dict[str, Any]:
    """Train both stages and score the second's samples on every fold.

    Args:
        target: data set, the two presets in their order, published rows.
        out: holds stage-1 and stage-2 (ordinary run folders), stages.json (what the second was begun with),
            folds.json, result.json and result.md.
        changes: fields of both configurations that were given one by one.
        watch: takes what there is to tell.

    Returns:
        The content of result.json.

    Raises:
        Stopped: a signal ended a training; the same call goes on.
        GancliError: the data are missing, or `out` holds other runs.

    Source: Table 1 of the paper; tfd_pretrain/pretrain.yaml and train.yaml of the released code.
    """
    first, second = target.presets
    config = target.config(first, changes)
    device = resolve_device(config.device)
    dataset, warnings = load_checked(target, config.data_dir)
    stages: list[PlannedRun] = []
    for number, preset in enumerate((first, second), start=1):
        pretrained = {"pretrained": str(stages[-1].run.path)} if stages else {}
        plan = plan_run(out / f"stage-{number}", target.config(preset, {**changes, **pretrained}), len(dataset.train))
        if stages:
            _require_own_beginning(plan, stages[-1], out)
        announce([plan], out, watch)
        summary = finish_run(plan, watch.reporter())
        stages.append(plan)
    scored = _folds(stages[-1], dataset, out)
    result = {
        "target": target.name,
        "preset": second,
        "dataset": dataset.name,
        "published": [published_row(row) for row in target.table],
        "paper": published_row(target.paper),
        "log_likelihood": scored["log_likelihood"],
        "standard_error": scored["standard_error"],
        "folds": scored["scores"],
        "seeds": [run_row(stages[-1], summary)],
        "stages": [str(plan.run.path) for plan in stages],
        "warnings": [*warnings, *scored["warnings"]],
        "config": stages[-1].config.as_dict(),
        **circumstances(device),
    }
    write_result(out, result, tfd_markdown(result))
    return result


def _require_own_beginning(plan: PlannedRun, before: PlannedRun, out: Path) -> None:
    """Note which generator a stage begins with, or raise UsageError where the stage before has another by now."""
    file, own = out / STAGES_FILE, file_sha256(before.run.chosen)
    if not plan.run.config_file.exists():
        atomic_write_text(file, json.dumps({plan.run.path.name: own}) + "\n")
    elif file.exists() and json.loads(file.read_text(encoding="utf-8")).get(plan.run.path.name) != own:
        raise UsageError(
            f"{plan.run.path} was begun with the generator that {before.run.path} had then, and that has been trained "
            f"further; remove {plan.run.path} to begin it anew, or choose another --out."
        )


def _folds(plan: PlannedRun, dataset: Dataset, out: Path) -> dict[str, Any]:
    """Score the run's samples on every fold, σ chosen on each fold's validation images."""
    file = plan.run.samples_file

    def compute() -> dict[str, Any]:
        return asdict(
            score_samples(
                read_samples(file),
                dataset,
                device=resolve_device(plan.config.device),
                backend=plan.config.backend,
            )
        )

    kept = Kept(out / FOLDS_FILE, {"data": data_sha256(dataset), "versions": versions()})
    return kept.get("folds", {"samples": file_sha256(file)}, compute)
