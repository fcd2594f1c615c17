"""The picture of how long a Parzen score takes, beside its peers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from benchmarks.common import footnotes, machine_in_words, marked
from gancli.figures.style import BLUE, INK, ORANGE, RULE, dress, new_figure, save_figure


def seconds_in_words(seconds: float) -> str:
    """Return a time with two digits or three: 0.75 s, 2.0 s, 46 s, 17 min."""
    value, unit = (seconds / 60, "min") if seconds >= 120 else (seconds, "s")
    return f"{value:.{2 if value < 1 else 1 if value < 10 else 0}f} {unit}"


def save_peers(path: Path, results: dict[str, Any]) -> None:
    """Draw a panel for each comparison, on one logarithmic scale of seconds.

    Args:
        path: The file to write, ending in .png, .svg or .pdf.
        results: What `python -m benchmarks parzen` has measured, its peers among it.
    """
    cases = results["comparisons"]
    rows = [row for case in cases for row in case["contenders"]]
    heights = [len(case["contenders"]) for case in cases]
    figure = new_figure(0.9 + 0.55 * len(cases) + 0.3 * sum(heights), None)
    panels = figure.subplots(len(cases), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    for axes, case in zip(panels, cases, strict=True):
        last = axes is panels[-1]
        dress(axes, x_label="seconds, median; and times gancli" if last else None, y_label="")
        _draw(axes, case)
    seconds = [row["median_seconds"] for row in rows]
    panels[0].set_xlim(0.3 * min(seconds), 20 * max(seconds))  # room on the right for what stands beside the last point
    text = "\n".join([machine_in_words(results["machine"]), *footnotes(rows)])
    figure.supxlabel(text, x=0.015, ha="left", fontsize=8, color=INK)
    save_figure(path, figure)


def _draw(axes: Axes, case: dict[str, Any]) -> None:
    rows = case["contenders"]
    sigmas = "one σ" if case["sigmas"] == 1 else f"{case['sigmas']} σ"
    title = f"{case['m']:,} points × {case['n']:,} samples × {case['d']}, {sigmas}"
    axes.set_title(title, loc="left", fontsize=11, color=INK)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks(range(len(rows)), [marked(row) for row in rows])
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False)
    for n, row in enumerate(rows):
        seconds, times = row["median_seconds"], row["times_gancli"]
        axes.axhline(n, color=RULE, linewidth=0.8, zorder=1)
        axes.plot(seconds, n, "o", markersize=9, color=ORANGE if n else BLUE, zorder=2)
        text = seconds_in_words(seconds)
        if n > 0:
            text += f"    {times:,.1f}×" if times < 10 else f"    {times:,.0f}×"
        label = axes.annotate(text, (seconds, n), xytext=(9, 0), textcoords="offset points", va="center", fontsize=10)
        label.set(color=INK, bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5})
