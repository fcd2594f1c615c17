"""The look that all plots share, and how they are written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from gancli.figures.pixels import check_ending
from gancli.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# From the palette of Okabe and Ito, which colour-blind readers tell apart; they differ in lightness as well.
BLUE, ORANGE, GREEN = "#0072b2", "#d55e00", "#009e73"
INK, FAINT, RULE = "#262626", "#7a7a7a", "#e3e3e3"

_WIDTH = 8.0  # inches, of 100 pixels each where a page shows the picture 800 pixels wide
_DOTS_PER_INCH = 200  # twice as many in the file, for sharp screens
_TEXT, _SMALL = 11, 10  # points
_ENDINGS = (".png", ".svg", ".pdf")
_METADATA: dict[str, dict[str, str | None]] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}


def new_figure(height: float, title: str | None) -> Figure:
    """Start an empty figure without pyplot, whose global list of figures leaks and is not safe in threads.

    Args:
        height: In inches; the width is 8.
        title: Above everything, on the left.

    Returns:
        The figure, which draws in memory.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(
        figsize=(_WIDTH, height),
        dpi=_DOTS_PER_INCH,
        layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.08),
        facecolor="white",
    )
    FigureCanvasAgg(figure)
    if title is not None:
        # parse_math=False: a run called "$5_a" is a name, not a formula.
        figure.suptitle(title, x=0.015, ha="left", fontsize=12, color=INK, parse_math=False)
    return figure


def dress(axes: Axes, *, x_label: str | None, y_label: str) -> None:
    """Give axes their labels, faint horizontal rules, and no box.

    Args:
        axes: The axes.
        x_label: With its unit; None where another panel below carries it.
        y_label: With its unit.
    """
    axes.set_facecolor("white")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("bottom", "left"):
        axes.spines[side].set_color(FAINT)
    axes.grid(axis="y", color=RULE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.ticklabel_format(axis="y", useOffset=False)  # "225.1" is read at once, "1e−1 + 2.25e2" is not
    axes.tick_params(which="both", colors=INK, labelsize=_SMALL, color=FAINT)
    axes.set_ylabel(y_label, fontsize=_TEXT, color=INK)
    if x_label is not None:
        axes.set_xlabel(x_label, fontsize=_TEXT, color=INK)


def add_legend(axes: Axes) -> None:
    """Add a legend in one line above the axes, on the right, where it can hide no curve.

    Args:
        axes: The axes, whose labelled artists it lists; without any it stays bare.
    """
    labels = axes.get_legend_handles_labels()[1]
    if labels:
        axes.legend(
            loc="lower right",
            bbox_to_anchor=(1.0, 1.0),
            ncols=len(labels),
            borderaxespad=0.3,
            columnspacing=1.6,
            handlelength=1.8,
            frameon=False,
            fontsize=_SMALL,
            labelcolor=INK,
        )


def check_figure(path: Path) -> None:
    """Raise UsageError unless figures can be written under that name."""
    check_ending(path, *_ENDINGS)


def save_figure(path: Path, figure: Figure) -> None:
    """Write a figure as PNG, SVG or PDF, by the ending of its name, whole or not at all.

    Args:
        path: The file to write.
        figure: The finished figure.

    Raises:
        UsageError: When the ending is another.
        GancliError: When the file cannot be written.
    """
    kind = check_ending(path, *_ENDINGS)

    def write(stream: BinaryIO) -> None:
        figure.savefig(stream, format=kind, metadata=_METADATA[kind])

    atomic_write(path, write)
