"""Maximum mean discrepancy, unbiased, with its standard error."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gancli.errors import InputError
from gancli.ops import parzen_log_sum_exp
from gancli.ops.parzen import SIGMA_LIMITS

_MEDIAN_OF = 1000  # points whose pairwise distances give the bandwidth


@dataclass(frozen=True)
class Discrepancy:
    """MMD² between data and samples.

    Attributes:
        mmd_squared: the unbiased estimate, which may be below zero where the distributions agree.
        standard_error: of that estimate, over both draws; on the safe side where the distributions agree.
        kernel: its formula in words.
        bandwidth: h, in the unit of the data.
    """

    mmd_squared: float
    standard_error: float
    kernel: str
    bandwidth: float


def median_bandwidth(data: Tensor) -> float:
    """Return the median distance between the first 1,000 points, (m, …) float: it depends on the data alone."""
    some = data[:_MEDIAN_OF].flatten(1).double()
    return float(torch.pdist(some).median()) if len(some) > 1 else 0.0


def discrepancy(data: Tensor, samples: Tensor, bandwidth: float | None = None, *, backend: str = "auto") -> Discrepancy:
    """Estimate MMD² = E k(x, x′) + E k(y, y′) − 2 E k(x, y), k(a, b) = exp(−‖a − b‖² / (2h²)).

    The sums over pairs are those of a Parzen window of width h; k² is such a kernel of width h/√2. The variance is
    that of Hoeffding's decomposition, of the linear parts and of the degenerate ones, which remain where the two
    distributions agree: 4ζ_x/m + 4ζ_y/n + 2σ²_xx/(m(m−1)) + 2σ²_yy/(n(n−1)) + 4σ²_xy/(mn).

    Where they agree, ζ is zero and its unbiased estimate noise as large as the degenerate parts: on the line, the whole
    variance would come out negative in two draws of five. So the linear parts are cut at zero, and the stated error is
    too large there rather than too small: 1.3 to 1.6 times the true one on the line, about 1.0 times in 100 dimensions.

    Args:
        data: (m, …) float, m ≥ 2.
        samples: (n, …) float, n ≥ 2.
        bandwidth: h; None takes the median distance within the data.
        backend: "auto", "torch" or "native".

    Raises:
        InputError: fewer than two points in a set, or a bandwidth that is not positive.

    Source: Gretton et al. 2012, lemma 6; the variance is Hoeffding's, 1948.
    """
    x, y = data.flatten(1), samples.flatten(1)
    m, n = len(x), len(y)
    h = median_bandwidth(x) if bandwidth is None else bandwidth
    if min(m, n) < 2 or not (h > 0 and math.isfinite(h)):
        raise InputError(f"MMD needs two points or more in each set and a positive bandwidth, got {m}, {n} and {h:g}.")
    if not (SIGMA_LIMITS[0] <= h / 2 and h <= SIGMA_LIMITS[1]):  # the square of a kernel is one of width h/√2
        raise InputError(f"MMD cannot be computed with a bandwidth of {h:g}; take one near the distances of the data.")
    xx, xx_squared = _kernel_means(x, x, h, backend, own=True)
    yy, yy_squared = _kernel_means(y, y, h, backend, own=True)
    xy, xy_squared = _kernel_means(x, y, h, backend)
    yx, _ = _kernel_means(y, x, h, backend)
    # σ²: variance of the kernel less what each of its arguments explains.
    within_x = _degenerate(xx_squared, xx, xx)
    within_y = _degenerate(yy_squared, yy, yy)
    across = _degenerate(xy_squared, xy, yx)
    # ζ: variance of the mean kernel of a point, less what the finite means add to it.
    zeta_x = float((xx - xy).var()) - within_x / (m - 1) - across / n
    zeta_y = float((yy - yx).var()) - within_y / (n - 1) - across / m
    linear = max(0.0, 4 * zeta_x / m + 4 * zeta_y / n)
    degenerate = 2 * within_x / (m * (m - 1)) + 2 * within_y / (n * (n - 1)) + 4 * across / (m * n)
    estimate = float(xx.mean() + yy.mean() - 2 * xy.mean())
    return Discrepancy(estimate, math.sqrt(linear + degenerate), "Gaussian, exp(−‖a − b‖² / (2h²))", h)


def _kernel_means(x: Tensor, y: Tensor, h: float, backend: str, *, own: bool = False) -> tuple[Tensor, float]:
    """Return each point's mean kernel with the other set, (m,) float64, and the mean of k² over all pairs.

    With `own`, x and y are one set, and a point's kernel with itself, which is 1, is left out.
    """
    sums = parzen_log_sum_exp(x, y, [h, h / math.sqrt(2)], backend=backend).double().exp() - float(own)
    sums = sums / (len(y) - own)
    return sums[0], float(sums[1].mean())


def _degenerate(mean_square: float, rows: Tensor, columns: Tensor) -> float:
    """Return E k² − E[E(k | a)²] − E[E(k | b)²] + (E k)², not below zero."""
    explained = float(rows.square().mean() + columns.square().mean() - rows.mean().square())
    return max(0.0, mean_square - explained)
