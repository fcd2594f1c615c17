"""The theory's curves over training, the saturation of G's loss, and modes in the plane."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gancli.figures.figure1 import rasterise
from gancli.figures.style import BLUE, FAINT, GREEN, INK, ORANGE, add_legend, dress, new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = NDArray[np.float64]

_FRAME_DOTS_PER_INCH = 60  # 480 pixels wide
_LOWEST = 1e-6  # of logarithmic axes: below it curves are rounding or luck


def save_theory_curves(
    path: Path,
    steps: Sequence[int],
    *,
    largest_error: Sequence[float],
    value: Sequence[float],
    c_of_g: Sequence[float],
    jsd: Sequence[float],
    title: str | None = None,
) -> None:
    """Plot over training how far D is from D*, V(D, G) against C(G), and how far both are from −log 4.

    Args:
        path: The file to write, ending in .png, .svg or .pdf.
        steps: Iterations of the reports.
        largest_error: max |D − D*|.
        value: V(D, G), nats.
        c_of_g: C(G), nats.
        jsd: JSD(p_data ‖ p_g), nats.
        title: Above the plot.

    Raises:
        GancliError: When the file cannot be written.
    """
    figure = new_figure(7.0, title)
    errors, values, distances = figure.subplots(3, 1, sharex=True)
    dress(errors, x_label=None, y_label="max |D − D*|")
    errors.plot(steps, largest_error, color=BLUE, linewidth=1.8)
    errors.set_ylim(0, 1)

    dress(values, x_label=None, y_label="nats")
    values.axhline(-math.log(4), color=FAINT, linewidth=1, linestyle=(0, (4, 3)), label="−log 4")
    values.plot(steps, c_of_g, color=GREEN, linewidth=1.8, label="C(G), what the best D reaches")
    values.plot(steps, value, color=BLUE, linewidth=1.8, linestyle=(0, (5, 2)), label="V(D, G), what D has reached")
    # The untrained D's value may be far below all the rest.
    values.set_ylim(max(min(value), -2.2) - 0.08, max(max(c_of_g), -1.2) + 0.08)
    add_legend(values)

    dress(distances, x_label="iteration", y_label="nats")
    distances.set_yscale("log")
    distances.minorticks_off()
    distances.plot(steps, [2 * one for one in jsd], color=GREEN, linewidth=1.8, label="C(G) + log 4 = 2 JSD")
    distances.plot(steps, jsd, color=ORANGE, linewidth=1.8, label="JSD")
    behind = [max(c - v, _LOWEST) for c, v in zip(c_of_g, value, strict=True)]
    distances.plot(steps, behind, color=BLUE, linewidth=1.2, alpha=0.8, label="C(G) − V(D, G)")
    add_legend(distances)
    save_figure(path, figure)


def save_saturation(
    path: Path, d_of_g: Sequence[float], norms: Mapping[str, Sequence[float]], title: str | None = None
) -> None:
    """Plot the norm of G's gradient over D(G(z)), for the minimax and the non-saturating loss.

    Args:
        path: The file to write, ending in .png, .svg or .pdf.
        d_of_g: The mean of D(G(z)), increasing, strictly between 0 and 1.
        norms: The gradient norms by the loss's name.
        title: Above the plot.

    Raises:
        GancliError: When the file cannot be written.
    """
    names = {"minimax": "minimax, log(1 − D(G(z)))", "non-saturating": "non-saturating, −log D(G(z))"}
    colours = {"minimax": ORANGE, "non-saturating": BLUE}
    figure = new_figure(4.2, title)
    axes = figure.add_subplot()
    dress(
        axes,
        x_label="mean of D(G(z)):  0, D is sure that samples are samples;  1, D is fooled",
        y_label="norm of G's gradient",
    )
    axes.set_xscale("logit")
    axes.set_yscale("log")
    for name, values in norms.items():
        axes.plot(d_of_g, values, color=colours[name], linewidth=2.2, label=names[name])
    axes.axvspan(d_of_g[0], 0.01, color=ORANGE, alpha=0.08, linewidth=0)
    axes.text(
        0.00024,
        0.05,
        "early:\nD rejects samples",
        transform=axes.get_xaxis_transform(),
        fontsize=10,
        color=INK,
        ha="center",
    )
    axes.set_xlim(d_of_g[0], d_of_g[-1])
    ticks = [1e-4, 1e-3, 1e-2, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    add_legend(axes)
    save_figure(path, figure)


def draw_plane_frames(data: Floats, clouds: Sequence[Floats], titles: Sequence[str]) -> Iterator[NDArray[np.uint8]]:
    """Draw samples over data in the plane as pictures of one size, for an animation.

    Args:
        data: (n, 2).
        clouds: the samples at each moment, (m, 2) each.
        titles: a line for each.

    Yields:
        (height, width, 3) uint8.
    """
    figure = new_figure(8.3, None)
    figure.set_dpi(_FRAME_DOTS_PER_INCH)
    axes = figure.add_subplot()
    for i, (cloud, title) in enumerate(zip(clouds, titles, strict=True)):
        axes.clear()
        _scatter(axes, data, cloud, size=6)
        axes.set_title(title, fontsize=15, color=INK, loc="left")
        if i == 0:
            figure.canvas.draw()
            figure.set_layout_engine("none")
        yield rasterise(figure)


def save_plane(
    path: Path,
    data: Floats,
    clouds: Sequence[Floats],
    titles: Sequence[str],
    steps: Sequence[int],
    captured: Sequence[int],
    good: Sequence[float],
    modes: int,
    title: str | None = None,
) -> None:
    """Plot a few moments of a game in the plane, and below them modes captured and good samples over training.

    Args:
        path: The file to write, ending in .png, .svg or .pdf.
        data: (n, 2), drawn black below the samples.
        clouds: Samples at the moments to show, (m, 2) each.
        titles: A line for each of them.
        steps: Iterations of all reports.
        captured: Modes captured at each.
        good: Share of good samples at each.
        modes: How many modes there are.
        title: Above everything.

    Raises:
        GancliError: When the file cannot be written.
    """
    figure = new_figure(5.4, title)
    grid = figure.add_gridspec(2, len(clouds), height_ratios=(1.0, 0.95))
    for i, (cloud, words) in enumerate(zip(clouds, titles, strict=True)):
        axes = figure.add_subplot(grid[0, i])
        _scatter(axes, data, cloud, size=1.5)
        axes.set_title(words, fontsize=10, color=INK)
    left = figure.add_subplot(grid[1, :])
    dress(left, x_label="iteration", y_label="modes captured")
    left.plot(steps, captured, color=GREEN, linewidth=1.8, label="modes captured")
    left.set_ylim(0, modes * 1.04)
    left.set_yticks([0, modes / 2, modes] if modes % 2 == 0 else [0, (modes - 1) / 2, modes])
    right = left.twinx()
    right.plot(steps, [100 * share for share in good], color=ORANGE, linewidth=1.8)
    left.plot([], [], color=ORANGE, linewidth=1.8, label="good samples (right)")
    right.set_ylim(0, 104)
    right.set_ylabel("good samples (%)", fontsize=11, color=INK)
    right.tick_params(labelsize=10, colors=INK, color=FAINT)
    for side in ("top", "left"):
        right.spines[side].set_visible(False)
    right.spines["right"].set_color(FAINT)
    add_legend(left)
    save_figure(path, figure)


def _scatter(axes: Axes, data: Floats, cloud: Floats, *, size: float) -> None:
    reach = float(np.abs(data).max()) * 1.25
    axes.scatter(data[:, 0], data[:, 1], s=size, color="black", alpha=0.25, linewidths=0)
    axes.scatter(cloud[:, 0], cloud[:, 1], s=size, color=GREEN, alpha=0.6, linewidths=0)
    axes.set_xlim(-reach, reach)
    axes.set_ylim(-reach, reach)
    axes.set_aspect("equal")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color(FAINT)
