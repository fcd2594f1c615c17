"""Which log-likelihoods a plot shows: the peak and its surroundings, not what would flatten them."""

from __future__ import annotations

from collections.abc import Sequence


def readable_range(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Choose which log-likelihoods a plot over σ shows, so that those far below do not flatten the peak.

    The drop from the peak to the right is as slow as d·log σ, so all of that is shown. To the left a value is
    shown while its drop is at most twice that, or twice the drop of the second nearest value, where this is more.

    Args:
        points: (σ, value) pairs, at least one.

    Returns:
        The lowest and the highest value to show, the second always above the first.
    """
    peak, top = max(points, key=lambda point: point[1])
    drops = _drops(top, [value for _, value in points])
    if not drops:
        return _around(top)
    to_the_right = max((top - value for sigma, value in points if sigma > peak), default=0.0)
    limit = 2 * max(to_the_right, drops[min(1, len(drops) - 1)])
    return top - max(drop for drop in drops if drop <= limit), top


def training_range(values: Sequence[float]) -> tuple[float, float]:
    """Choose which log-likelihoods a plot over the epochs shows: the rise, but not a first epoch at −1e6.

    Args:
        values: At least one.

    Returns:
        The lowest and the highest value to show, the second always above the first.
    """
    top = max(values)
    drops = _drops(top, values)
    if not drops:
        return _around(top)
    limit = 3 * drops[int(0.9 * (len(drops) - 1))]
    return top - max(drop for drop in drops if drop <= limit), top


def _drops(top: float, values: Sequence[float]) -> list[float]:
    """How far values lie below the top, in order; differences that are rounding do not count."""
    return sorted(top - value for value in values if top - value > 1e-9 * max(1.0, abs(top)))


def _around(value: float) -> tuple[float, float]:
    margin = max(1.0, 1e-3 * abs(value))
    return value - margin, value + margin
