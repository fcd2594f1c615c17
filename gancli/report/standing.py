"""Where our figures stand: a table of published ones, ours and samples that no model made, each with its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from gancli.report.charts import number
from gancli.report.collect import Material
from gancli.reproduce import published
from gancli.reproduce.baselines import BASELINES
from gancli.reproduce.results import model_of
from gancli.reproduce.starts import chosen_from

_PUBLISHED = {"mnist": published.MNIST, "tfd": published.TFD}


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
        label: who.
        log_likelihood: nats.
        error: the ± beside it; None where there is none.
        more: further words on it.
        kind: paper, published, ours or baseline, for its look.
    """

    label: str
    log_likelihood: float
    error: float | None
    more: str
    kind: str

    @property
    def text(self) -> str:
        """Published figures as they were published, ours with a decimal."""
        form = "g" if self.kind in ("paper", "published") else ",.1f"
        error = "" if self.error is None else f" ± {self.error:{form}}"
        return f"{self.log_likelihood:{form}}{error}".replace("-", "−")


def standing(material: Material) -> str:
    """Return the headline table; empty while no run has a score."""
    groups = [
        ("Published", _published(material)),
        ("Here", [*_means(material), *_runs(material)]),
        ("Samples that no model made, by the same protocol", _baselines(material)),
    ]
    if not groups[1][1]:
        return ""
    shown = [row for _, rows in groups for row in rows]
    low, high = _span(shown)
    body = "".join(
        f'<tr class="group"><td colspan="4">{escape(name)}</td></tr>' + "".join(_line(row, low, high) for row in rows)
        for name, rows in groups
        if rows
    )
    return (
        '<div class="scroll"><table class="standing"><thead><tr><th scope="col">Model</th>'
        '<th scope="col" class="num">Nats</th><th scope="col" class="where">'
        f'From {number(low)} to {number(high)}</th><th scope="col">Notes</th></tr></thead><tbody>{body}</tbody>'
        "</table></div>"
    )


def paper_row(material: Material) -> published.Published | None:
    """Return the paper's row for the data set that all runs share, or None."""
    names = {run.config["dataset"] for run in material.runs}
    rows = _PUBLISHED.get(names.pop()) if len(names) == 1 else None
    return None if rows is None else rows[-1]


def _published(material: Material) -> list[Row]:
    paper = paper_row(material)
    if paper is None:
        return []
    return [
        Row(
            row.model,
            row.log_likelihood,
            row.standard_error,
            row.source,
            "paper" if row is paper else "published",
        )
        for rows in _PUBLISHED.values()
        if paper in rows
        for row in rows
    ]


def _means(material: Material) -> list[Row]:
    found = []
    for result in material.results:
        if "log_likelihood" not in result:
            continue
        if result["target"] == "table1-mnist" and len(result["seeds"]) > 1:
            found.append(
                Row(
                    f"{model_of(result)}, mean of {len(result['seeds'])} seeds",
                    result["log_likelihood"],
                    result["standard_error"],
                    f"± {result['spread']:.1f} over seeds{chosen_from(result)}",
                    "ours",
                )
            )
        elif result["target"] == "table1-tfd":
            figures = (result["log_likelihood"], result["standard_error"])
            found.append(Row(result["preset"], *figures, "five folds, ± across them", "ours"))
    return found


def _runs(material: Material) -> list[Row]:
    found = []
    for run in material.runs:
        if run.parzen is not None:
            estimate, refined = run.parzen["estimate"], run.parzen["refined"]
            at = f"σ = {estimate['sigma']:.3f}"
            finer = (
                "" if refined is None else f"; {refined['log_likelihood']:,.1f} at a refined σ = {refined['sigma']:.3f}"
            )
            found.append(Row(run.name, estimate["log_likelihood"], estimate["standard_error"], at + finer, "ours"))
    return found


def _baselines(material: Material) -> list[Row]:
    known: dict[str, Mapping[str, Any]] = {}
    for result in material.results:
        known |= result.get("baselines", {})
    return [
        Row(
            baseline.name,
            known[baseline.name]["estimate"]["log_likelihood"],
            known[baseline.name]["estimate"]["standard_error"],
            "" if baseline.published is None else f"published: {baseline.published}, {baseline.published.source}",
            "baseline",
        )
        for baseline in BASELINES
        if baseline.name in known
    ]


def _span(rows: Sequence[Row]) -> tuple[float, float]:
    """Return the range that the places are drawn in; baselines far below it are marked at its edge."""
    models = [row.log_likelihood for row in rows if row.kind != "baseline"]
    low = min(models)
    high = max(row.log_likelihood for row in rows)
    margin = max(0.06 * (high - low), 5.0)
    return low - margin, high + margin


def _line(row: Row, low: float, high: float) -> str:
    return (
        f'<tr class="{row.kind}"><th scope="row">{escape(row.label)}</th><td class="num">{row.text}</td>'
        f'<td class="where"><span class="track" aria-hidden="true">{_mark(row, low, high)}</span></td>'
        f"<td>{escape(row.more)}</td></tr>"
    )


def _mark(row: Row, low: float, high: float) -> str:
    def place(value: float) -> float:
        return round(100 * min(max((value - low) / (high - low), 0.0), 1.0), 2)

    if row.log_likelihood < low:
        return "<s>◂</s>"
    at, error = row.log_likelihood, row.error or 0.0
    left, right = place(at - error), place(at + error)
    return f'<u style="left:{left}%;width:{round(right - left, 2)}%"></u><i style="left:{place(at)}%"></i>'
