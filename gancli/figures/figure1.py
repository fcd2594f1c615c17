"""Figure 1: D, p_data and p_g over x, and the mapping from z to x as arrows below; in panels and in motion."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gancli.errors import UsageError
from gancli.figures.style import BLUE, FAINT, GREEN, INK, new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]

_DOTS, _DASHES = (0, (1, 1.3)), (0, (5, 2.2))
_SMALL, _TEXT = 9, 10  # points
_FRAME_DOTS_PER_INCH = 80  # 640 pixels wide
_HIGHEST = 1.6  # of the vertical axis, however narrow a mode is


@dataclass(frozen=True)
class Snapshot:
    """A game on the line at one moment.

    Attributes:
        x: (k,) positions, increasing.
        d: (k,) D(x).
        p_data: (k,) density of the data.
        p_g: (k,) density of the samples.
        z: (a,) where arrows start, at equal probability from one to the next.
        x_of_z: (a,) where they end, G(z).
        title: what the moment is; may have two lines.
    """

    x: Floats
    d: Floats
    p_data: Floats
    p_g: Floats
    z: Floats
    x_of_z: Floats
    title: str


def save_figure1(path: Path, panels: Sequence[Snapshot], title: str | None = None) -> None:
    """Draw Figure 1: one panel for each moment, D blue and dashed, p_data black and dotted, p_g green and solid.

    Args:
        path: The file to write, ending in .png, .svg or .pdf.
        panels: Moments on the same positions x, labelled (a), (b), … from left to right.
        title: Above everything.

    Raises:
        UsageError: When there are no panels, or the ending is another.
        GancliError: When the file cannot be written.

    Source: Figure 1.
    """
    if not panels:
        raise UsageError("Figure 1: expected at least one panel, got none")
    figure = new_figure(3.3, title)
    height = _height(panels)
    grid = figure.add_gridspec(2, len(panels), height_ratios=(3.2, 1.25), hspace=0, wspace=0.04)
    for i, panel in enumerate(panels):
        curves = figure.add_subplot(grid[0, i])
        arrows = figure.add_subplot(grid[1, i], sharex=curves)
        _draw(curves, arrows, panel, height, labelled=i == 0)
        curves.set_title(f"({'abcdefgh'[i]}) {panel.title}", fontsize=_TEXT, color=INK)
    _legend(figure)
    save_figure(path, figure)


def draw_frames(snapshots: Sequence[Snapshot]) -> Iterator[NDArray[np.uint8]]:
    """Draw moments as pictures of one size, (height, width, 3) uint8 each, for an animation."""
    figure = new_figure(4.6, None)
    figure.set_dpi(_FRAME_DOTS_PER_INCH)
    height = _height(snapshots)
    grid = figure.add_gridspec(2, 1, height_ratios=(3.2, 1.1), hspace=0)
    curves = figure.add_subplot(grid[0])
    arrows = figure.add_subplot(grid[1], sharex=curves)
    for i, snapshot in enumerate(snapshots):
        curves.clear()
        arrows.clear()
        _draw(curves, arrows, snapshot, height, labelled=True)
        curves.set_title(snapshot.title, fontsize=_TEXT + 1, color=INK, loc="left")
        if i == 0:
            _legend(figure)
            figure.canvas.draw()
            figure.set_layout_engine("none")  # the first frame's layout serves all, so that nothing moves but curves
        yield rasterise(figure)


def rasterise(figure: Figure) -> NDArray[np.uint8]:
    """Return a figure as pixels, (height, width, 3) uint8, both sides even, as video formats want them."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)  # noqa: S101  # new_figure made it
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels = np.asarray(canvas.buffer_rgba())[:, :, :3]  # type: ignore[no-untyped-call]
    return np.ascontiguousarray(pixels[: len(pixels) // 2 * 2, : pixels.shape[1] // 2 * 2])


def _height(snapshots: Sequence[Snapshot]) -> float:
    """The top of the vertical axis: above D's 1 and p_data's peak; p_g may spike beyond it."""
    peak = max(float(snapshot.p_data.max()) for snapshot in snapshots)
    return min(max(1.08, 1.15 * peak), _HIGHEST)


def _draw(curves: Axes, arrows: Axes, snapshot: Snapshot, height: float, *, labelled: bool) -> None:
    x = snapshot.x
    curves.axhline(0.5, color=FAINT, linewidth=0.6, alpha=0.6)
    curves.fill_between(x, snapshot.p_g, color=GREEN, alpha=0.12, linewidth=0)
    curves.plot(x, snapshot.p_g, color=GREEN, linewidth=1.7, label=r"$p_g$", zorder=3)
    curves.plot(x, snapshot.p_data, color="black", linewidth=1.8, linestyle=_DOTS, label=r"$p_\mathrm{data}$", zorder=4)
    curves.plot(x, snapshot.d, color=BLUE, linewidth=1.7, linestyle=_DASHES, label=r"$D$", zorder=5)
    curves.set_xlim(x[0], x[-1])
    curves.set_ylim(0, height)
    curves.set_yticks([0, 0.5, 1], ["0", "½", "1"] if labelled else ["", "", ""])
    curves.tick_params(axis="x", bottom=False, labelbottom=False)
    curves.tick_params(axis="y", labelsize=_SMALL, colors=INK, color=FAINT)
    for side in ("top", "right"):
        curves.spines[side].set_visible(False)
    for side in ("bottom", "left"):
        curves.spines[side].set_color(FAINT)
    _draw_arrows(arrows, snapshot)


def _draw_arrows(axes: Axes, snapshot: Snapshot) -> None:
    """The domain of z as the lower line, that of x as the upper one, and an arrow for each z that leads to G(z)."""
    low, high = float(snapshot.x[0]), float(snapshot.x[-1])
    reach = float(np.abs(snapshot.z).max()) * 1.12
    start = low + (snapshot.z + reach) / (2 * reach) * (high - low)
    for begin, end in zip(start, snapshot.x_of_z, strict=True):
        if low <= end <= high:
            axes.annotate(
                "",
                xy=(end, 0.97),
                xytext=(begin, 0.1),
                arrowprops={
                    "arrowstyle": "-|>,head_width=0.11,head_length=0.22",
                    "color": INK,
                    "linewidth": 0.55,
                    "shrinkA": 0,
                    "shrinkB": 0,
                },
            )
    axes.axhline(0.1, color=INK, linewidth=0.9)
    axes.axhline(0.97, color=INK, linewidth=0.9)
    axes.set_xlim(low, high)
    axes.set_ylim(-0.02, 1.12)
    for y, name in ((0.97, "$x$"), (0.1, "$z$")):
        axes.annotate(
            name,
            (1.0, y),
            xycoords=("axes fraction", "data"),
            xytext=(3, 0),
            textcoords="offset points",
            va="center",
            fontsize=_TEXT,
            color=INK,
            annotation_clip=False,
        )
    axes.set_axis_off()


def _legend(figure: Figure) -> None:
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(
        handles[::-1],
        labels[::-1],
        loc="outside upper center",
        ncols=3,
        frameon=False,
        fontsize=_TEXT,
        labelcolor=INK,
        handlelength=2.6,
        columnspacing=1.8,
        borderaxespad=0.6,
    )
