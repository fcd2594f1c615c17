"""One-dimensional data: the two densities in place of a sample grid."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gancli.errors import UsageError
from gancli.figures.style import GREEN, add_legend, dress, new_figure, save_figure

if TYPE_CHECKING:
    from torch import Tensor

Floats = NDArray[np.float64]

_POINTS = 1024  # of the grid on which the curves are drawn
_DATA_BINS = 60
_HIGHEST_SPIKE = 2.5  # times the peak of p_data


def save_density(
    path: Path,
    samples: Tensor,
    data: Tensor,
    *,
    density: Callable[[Floats], Floats] | None = None,
    title: str | None = None,
) -> None:
    """Plot p_data (black, dotted) and p_g (green, solid), as in Figure 1.

    p_g is a Gaussian kernel estimate from the samples. A generator that has collapsed gives a spike; it is cut
    off where p_data would become too flat to see. The legend says how many samples lie outside the plot.

    Args:
        path: The file to write, ending in .png, .svg or .pdf.
        samples: (n,), floating point, G's.
        data: (m,), floating point, the data set's.
        density: The exact p_data, from positions (k,) to values (k,), both float64; None draws a histogram of
            the data.
        title: Above the plot.

    Raises:
        UsageError: When samples or data have another shape or dtype, or are empty or not finite.
        GancliError: When the file cannot be written.

    Source: Figure 1.
    """
    drawn, real = _to_floats(samples, name="samples"), _to_floats(data, name="data")
    low, high = _visible(drawn, real)
    x = np.linspace(low, high, _POINTS)
    p_g = _kernel_estimate(drawn, x)

    outside = np.mean((drawn < low) | (drawn > high))
    note = f", {outside:.1%} of them outside" if outside >= 0.0005 else ""

    figure = new_figure(4.2, title)
    axes = figure.add_subplot()
    dress(axes, x_label="x", y_label="density")
    dots = (0, (1, 1.4))
    if density is not None:
        p_data: Floats = np.asarray(density(x), dtype=np.float64)
        axes.plot(x, p_data, color="black", linewidth=2.2, linestyle=dots, label=r"$p_\mathrm{data}$", zorder=3)
    else:
        p_data, edges = np.histogram(real, bins=_DATA_BINS, range=(low, high), density=True)
        axes.stairs(
            p_data, edges, color="black", linewidth=1.8, linestyle=dots, label=r"$p_\mathrm{data}$, histogram", zorder=3
        )
    axes.fill_between(x, p_g, color=GREEN, alpha=0.12, linewidth=0)
    axes.plot(x, p_g, color=GREEN, linewidth=2.2, label=f"$p_g$, {len(drawn):,} samples{note}")
    axes.set_xlim(low, high)
    # An exact density narrower than the grid's step may be 0 at all of its points; so may p_g, far from the data.
    peak = p_data.max() or p_g.max() or 1.0
    axes.set_ylim(0, 1.08 * max(peak, min(p_g.max(), _HIGHEST_SPIKE * peak)))
    add_legend(axes)
    save_figure(path, figure)


def _to_floats(values: Tensor, *, name: str) -> Floats:
    """Check a one-dimensional tensor and turn it into float64."""
    if values.ndim != 1 or not values.is_floating_point():
        raise UsageError(
            f"{name}: expected floating-point numbers of shape (n,), got "
            f"{str(values.dtype).removeprefix('torch.')} of shape {tuple(values.shape)}"
        )
    if len(values) == 0:
        raise UsageError(f"{name}: expected at least one number, got none")
    numbers: Floats = values.detach().cpu().double().numpy()
    finite = np.isfinite(numbers)
    if not finite.all():
        first = int(np.argmin(finite))
        raise UsageError(f"{name}: expected finite numbers, got {numbers[first]} at index {first}")
    return numbers


def _visible(samples: Floats, data: Floats) -> tuple[float, float]:
    """Choose the range to plot: all data, and nearly all samples unless they stray by more than the data's width."""
    low, high = float(data.min()), float(data.max())
    width = high - low or max(float(np.ptp(samples)), abs(low) * 1e-3, 1e-3)
    left, right = np.quantile(samples, [0.005, 0.995])
    margin = 0.1 * width
    return (
        max(min(low, float(left)), low - width) - margin,
        min(max(high, float(right)), high + width) + margin,
    )


def _kernel_estimate(samples: Floats, x: Floats) -> Floats:
    """Estimate the density of samples (n,) at evenly spaced positions x (k,).

    The samples are counted in bins around the positions first, which costs n + k² in place of n·k.
    """
    step = x[1] - x[0]
    edges = np.append(x - step / 2, x[-1] + step / 2)
    counts, _ = np.histogram(samples, bins=edges)
    width = max(_kernel_width(samples), step)
    kernel = np.exp(-0.5 * ((x[:, None] - x[None, :]) / width) ** 2) / (width * np.sqrt(2 * np.pi))
    p: Floats = kernel @ (counts / len(samples))
    return p


def _kernel_width(samples: Floats) -> float:
    """Choose a standard deviation by Silverman's rule, on a scale that far-apart modes do not inflate.

    The rule takes the spread of the whole for the spread of the one mode it assumes. The shortest interval with a
    quarter of the samples lies within a mode; for a normal density it is 0.637 standard deviations long.
    """
    n = len(samples)
    ordered = np.sort(samples)
    quarter = max(1, n // 4)
    shortest = float(np.min(ordered[quarter:] - ordered[:-quarter])) / 0.637 if n > 1 else 0.0
    low, high = np.quantile(samples, [0.25, 0.75])
    spread = min(float(samples.std()), float(high - low) / 1.349)  # the quartiles do not mind outliers
    return float(0.9 * min(spread, max(shortest, spread / 4)) * n**-0.2)
