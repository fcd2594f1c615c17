"""What a reproduction ends with, as plain values: the rows of seeds, their mean, and what to beware of."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from gancli.evaluate.parzen import Estimate, ParzenScore
from gancli.evaluate.scoring import summarise
from gancli.files import atomic_write_text
from gancli.reproduce.machine import describe_machine
from gancli.reproduce.published import Published
from gancli.reproduce.runs import PlannedRun, first_epoch_reaching, training_seconds
from gancli.train.generate import versions

RESULT_FILE, TABLE_FILE = "result.json", "result.md"


def score_from(values: Mapping[str, Any]) -> ParzenScore:
    """Return a ParzenScore from its plain values, as summary.json has them."""
    refined = values["refined"]
    return ParzenScore(
        **{
            **values,
            "estimate": Estimate(**values["estimate"]),
            "refined": None if refined is None else Estimate(**refined),
        }
    )


def model_of(result: Mapping[str, Any]) -> str:
    """Return what a result's row is called; earlier result.json have no other name than the preset's."""
    return str(result.get("model", result["preset"]))


def run_row(plan: PlannedRun, summary: Mapping[str, Any], reaching: float | None = None) -> dict[str, Any]:
    """Return one finished run as a row: its figure, how its checkpoint was chosen, and what it took.

    Args:
        plan: the run.
        summary: its final figures.
        reaching: a validation log-likelihood in nats; the row tells when the run first had it.
    """
    score = score_from(summary["parzen"])
    rows = [row for row in plan.run.read_metrics() if row.get("validation_log_likelihood") is not None]
    best = max(rows, key=lambda row: row["validation_log_likelihood"], default=None)
    if plan.config.samples_from == "last":
        best = rows[-1] if rows else None
    row = {
        "seed": plan.config.seed,
        "preset": plan.config.preset,
        "run": str(plan.run.path),
        **_estimate(score.estimate),
        "refined": None if score.refined is None else _estimate(score.refined),
        "validation_log_likelihood": None if best is None else best["validation_log_likelihood"],
        "best_epoch": None if best is None else best["epoch"],
        "epochs": -(-plan.total // plan.per_epoch),  # the last one may be cut short by --steps
        "steps": summary["steps"],
        "num_samples": score.num_samples,
        "num_test": score.num_test,
        "num_validation": score.num_validation,
        "training_seconds": training_seconds(plan.run),
        "warnings": list(summarise([score]).warnings),
    }
    if reaching is not None:
        epoch = first_epoch_reaching(plan.run, reaching)
        seconds = None if epoch is None else training_seconds(plan.run, epoch)
        row["reached"] = {"validation_log_likelihood": reaching, "epoch": epoch, "training_seconds": seconds}
    return row


def over_seeds(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the figure of several seeds.

    Returns:
        log_likelihood: mean over seeds, nats; the same for refined_log_likelihood.
        standard_error: the seeds' mean standard error over test examples. The seeds share these, so that their mean
            has about the same error as each of them, not one that shrinks with the number of seeds.
        spread: standard deviation over seeds with Bessel's correction; None of a single seed.
        lowest, highest: of the seeds.
    """
    values = [row["log_likelihood"] for row in rows]
    refined = [row["refined"]["log_likelihood"] for row in rows if row["refined"] is not None]
    return {
        "log_likelihood": statistics.fmean(values),
        "refined_log_likelihood": statistics.fmean(refined) if refined else None,
        "standard_error": statistics.fmean(row["standard_error"] for row in rows),
        "spread": statistics.stdev(values) if len(values) > 1 else None,
        "lowest": min(values),
        "highest": max(values),
    }


def published_row(published: Published) -> dict[str, Any]:
    """Return a published figure as plain values."""
    return {**vars(published), "text": str(published)}


def circumstances(device: torch.device) -> dict[str, Any]:
    """Return on what and with which versions a result was made."""
    return {"machine": describe_machine(device), "versions": versions()}


def write_result(out: Path, result: Mapping[str, Any], table: str) -> None:
    """Write result.json and the Markdown table beside it."""
    atomic_write_text(out / RESULT_FILE, json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    atomic_write_text(out / TABLE_FILE, table)


def _estimate(estimate: Estimate) -> dict[str, float]:
    return vars(estimate).copy()
