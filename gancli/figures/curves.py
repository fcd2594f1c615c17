"""The validation log-likelihood over σ, as a curve."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gancli.errors import UsageError
from gancli.figures.ranges import readable_range
from gancli.figures.style import (
    BLUE,
    GREEN,
    INK,
    ORANGE,
    add_legend,
    dress,
    new_figure,
    save_figure,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Points = Sequence[tuple[float, float]]


def save_sigma_curve(
    path: Path,
    sigmas: Sequence[float],
    validation_log_likelihoods: Sequence[float],
    best_sigma: float,
    best_value: float,
    refined: tuple[Sequence[float], Sequence[float]] | None = None,
    title: str | None = None,
) -> None:
    """Plot the mean validation log-likelihood of a Parzen window over its σ, the best σ marked.

    Too small a σ costs so much that the peak would look flat beside it; points that far below stay off the plot
    and are marked at its lower edge with their values.

    Args:
        path: The file to write, ending in .png, .svg or .pdf.
        sigmas: The σ that were tried, positive, in any order.
        validation_log_likelihoods: The mean log-likelihood of each, in nats.
        best_sigma: The σ that was chosen.
        best_value: Its mean log-likelihood, in nats.
        refined: The σ and values of a finer second search, where there was one.
        title: Above the plot.

    Raises:
        UsageError: When there are no points, the lengths differ, a σ is not positive or a value not finite.
        GancliError: When the file cannot be written.

    Source: section 5, the choice of σ by cross-validation.
    """
    coarse = _points("validation_log_likelihoods", sigmas, validation_log_likelihoods)
    fine = _points("refined", *refined) if refined is not None else []
    (best,) = _points("best", [best_sigma], [best_value])
    low, high = readable_range([*coarse, *fine, best])

    figure = new_figure(4.4, title)
    axes = figure.add_subplot()
    axes.set_xscale("log")
    dress(axes, x_label="Parzen window width σ", y_label="validation log-likelihood (nats)")
    axes.plot(*zip(*coarse, strict=True), color=BLUE, linewidth=1.8, marker="o", markersize=5.5, label="grid")
    if fine:
        axes.plot(*zip(*fine, strict=True), color=ORANGE, linewidth=2.2, label="refined")
    axes.plot(*best, color=GREEN, marker="*", markersize=15, markeredgecolor="white", zorder=4)
    # Room above the peak for its label.
    room = high - low
    axes.set_ylim(low - 0.06 * room, high + 0.2 * room)
    _set_sigma_axis(axes, [sigma for sigma, _ in [*coarse, *fine, best]])
    _mark_points_below(axes, [point for point in coarse if point[1] < low])
    _label_best(axes, best)
    if fine:
        add_legend(axes)
    save_figure(path, figure)


def _points(name: str, sigmas: Sequence[float], values: Sequence[float]) -> Points:
    """Pair σ with values in the order of σ, all of them checked."""
    if len(sigmas) != len(values):
        raise UsageError(f"{name}: expected one value per σ, got {len(values)} for {len(sigmas)}")
    if len(sigmas) == 0:
        raise UsageError(f"{name}: expected at least one σ, got none")
    points = [(float(sigma), float(value)) for sigma, value in zip(sigmas, values, strict=True)]
    for sigma, value in points:
        if not (math.isfinite(sigma) and sigma > 0):
            raise UsageError(f"{name}: expected positive σ, got {sigma}")
        if not math.isfinite(value):
            raise UsageError(f"{name}: expected finite values, got {value} at σ = {sigma:g}")
    return sorted(points)


def _set_sigma_axis(axes: Axes, sigmas: Sequence[float]) -> None:
    """Label a logarithmic axis in plain numbers, however narrow its range."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

    low, high = min(sigmas), max(sigmas)
    margin = (high / low) ** 0.06 if high > low else 2.0
    axes.set_xlim(low / margin, high * margin)
    if high / low < 4 and high > low:
        axes.xaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10]))
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        few = high / low < 200
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5) if few else (1,)))
        axes.xaxis.set_minor_locator(LogLocator(subs="all"))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _mark_points_below(axes: Axes, points: Points) -> None:
    """Mark points under the axes by arrows at the lower edge, with the value of the lowest above them."""
    if not points:
        return
    edge = axes.get_xaxis_transform()  # x in data, y from 0 at the lower edge to 1 at the upper
    axes.plot(
        [sigma for sigma, _ in points],
        [0.035] * len(points),
        transform=edge,
        color=BLUE,
        marker="v",
        markersize=7,
        linestyle="none",
    )
    lowest = min(points, key=lambda point: point[1])
    axes.annotate(
        f"further down, to {_nats(lowest[1])}",
        (lowest[0], 0.035),
        xycoords=edge,
        xytext=(-4, 8),
        textcoords="offset points",
        fontsize=9,
        color=INK,
    )


def _label_best(axes: Axes, best: tuple[float, float]) -> None:
    """Write the chosen σ and its value above the point, turned inwards near the sides."""
    across = axes.transAxes.inverted().transform(axes.transData.transform(best))[0]
    place = "left" if across < 0.2 else "right" if across > 0.8 else "center"
    axes.annotate(
        f"σ = {best[0]:.4g}: {_nats(best[1])} nats",
        best,
        xytext=(0, 11),
        textcoords="offset points",
        ha=place,
        fontsize=11,
        fontweight="bold",
        color=INK,
    )


def _nats(value: float) -> str:
    """Write a log-likelihood with a decimal while that says something."""
    text = f"{value:,.1f}" if abs(value) < 1e4 else f"{value:,.0f}" if abs(value) < 1e9 else f"{value:.1e}"
    return text.replace("-", "−")
