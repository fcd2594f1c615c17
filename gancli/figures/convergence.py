"""How a Parzen figure moves with the number of samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from gancli.errors import UsageError
from gancli.figures.style import BLUE, dress, new_figure, save_figure


def save_convergence(
    path: Path,
    num_samples: Sequence[int],
    log_likelihoods: Sequence[float],
    standard_errors: Sequence[float],
    title: str | None = None,
) -> None:
    """Plot the log-likelihood over the number of samples, which goes up without end, with its standard error.

    Args:
        path: The file to write, ending in .png, .svg or .pdf.
        num_samples: How many samples each figure was made from, positive.
        log_likelihoods: The figures, in nats.
        standard_errors: Over the test examples, in nats; drawn as a band.
        title: Above the plot.

    Raises:
        UsageError: When there are no points, the lengths differ, or a value is not finite.
        GancliError: When the file cannot be written.
    """
    if not len(num_samples) == len(log_likelihoods) == len(standard_errors) > 0:
        raise UsageError(
            f"convergence: expected as many figures as sample counts, at least one, got {len(num_samples)}, "
            f"{len(log_likelihoods)} and {len(standard_errors)}"
        )
    if not all(map(math.isfinite, [*log_likelihoods, *standard_errors])) or min(num_samples) < 1:
        raise UsageError("convergence: expected finite figures and positive sample counts")
    from matplotlib.ticker import FuncFormatter, NullLocator

    figure = new_figure(4.0, title)
    axes = figure.add_subplot()
    axes.set_xscale("log")
    dress(axes, x_label="samples", y_label="log-likelihood (nats)")
    low = [mean - error for mean, error in zip(log_likelihoods, standard_errors, strict=True)]
    high = [mean + error for mean, error in zip(log_likelihoods, standard_errors, strict=True)]
    axes.fill_between(num_samples, low, high, color=BLUE, alpha=0.18, linewidth=0)
    axes.plot(num_samples, log_likelihoods, color=BLUE, linewidth=1.8, marker="o", markersize=5)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.xaxis.set_minor_locator(NullLocator())
    save_figure(path, figure)
