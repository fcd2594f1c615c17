"""Nearest neighbours and balls between two sets of points, without ever storing the m×n distances.

Matrix products on tiles find what is near; whatever their rounding leaves open is settled from explicit differences
in float64, so that every answer is the one that float64 differences give.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from gancli.errors import InputError
from gancli.ops import checks
from gancli.ops.precision import full_precision

TILE_ROWS = 512
TILE_COLUMNS = 4096
_SPARE = 8  # candidates beyond the k nearest, among which rounding may have mixed up the order
_PAIRS = 1 << 20  # values of differences held at once while pairs are settled one by one
# Up to this many dimensions float64 products cost next to nothing, and points lie close enough to need them.
_FEW_DIMENSIONS = 16


@torch.no_grad()
def nearest_squared_distances(x: Tensor, y: Tensor, k: int, *, exclude_self: bool = False) -> Tensor:
    """Find the squared Euclidean distances from each point to its k nearest points of another set.

    Args:
        x: (m, d) float.
        y: (n, d) float, same device.
        k: how many, 1 ≤ k ≤ n (n − 1 with exclude_self).
        exclude_self: x and y are one set, and a point is no neighbour of itself (its duplicates are).

    Returns:
        (m, k) float64, increasing along each row; equal to what float64 differences give.

    Raises:
        InputError: shapes, dtypes or k are off, or a value is not finite.
    """
    _check(x, y)
    available = len(y) - exclude_self
    if not 1 <= k <= available or (exclude_self and len(x) != len(y)):
        raise InputError(f"k must be 1 to {available}, the points of y that are neighbours, got {k}.")
    wanted = min(k + _SPARE, available)
    result = x.new_empty((len(x), k), dtype=torch.float64)
    tiles = _Tiles(x, y)
    for rows in tiles.rows():
        values, index = _candidates(tiles, rows, wanted, exclude_self)
        exact = _squared_differences(x[rows], y, index).sort(dim=1).values[:, :k]
        # Every other point is at least as far as the last candidate, less what rounding can hide.
        hidden = (values[:, -1].double() - tiles.rounding(rows)) < exact[:, -1]
        if wanted < available and hidden.any():
            unsure = hidden.nonzero()[:, 0] + rows.start
            exact[hidden] = _directly(x, y, unsure, k, exclude_self)
        result[rows] = exact
    return result


def nearest_squared_distances_reference(x: Tensor, y: Tensor, k: int, *, exclude_self: bool = False) -> Tensor:
    """Compute the same from all m×n differences, in float64."""
    distances = (x.double()[:, None, :] - y.double()[None, :, :]).square().sum(dim=2)
    if exclude_self:
        distances.fill_diagonal_(torch.inf)
    return distances.sort(dim=1).values[:, :k]


@torch.no_grad()
def count_in_balls(x: Tensor, y: Tensor, squared_radii: Tensor) -> Tensor:
    """Count the balls around the points of one set that hold each point of another.

    c_i = #{ j : ‖x_i − y_j‖² ≤ r_j² }

    Args:
        x: (m, d) float.
        y: (n, d) float, the centres, same device.
        squared_radii: (n,) float64, r_j².

    Returns:
        (m,) int64; equal to what float64 differences give.

    Raises:
        InputError: shapes or dtypes are off, or a value is not finite.
    """
    _check(x, y)
    checks.require_shape("squared_radii", squared_radii, ("n",))
    if len(squared_radii) != len(y):
        raise InputError(f"squared_radii must have one value for each point of y: {len(squared_radii)} for {len(y)}.")
    radii = squared_radii.to(torch.float64)
    counts = torch.zeros(len(x), dtype=torch.int64, device=x.device)
    tiles = _Tiles(x, y)
    for rows in tiles.rows():
        for columns in tiles.columns():
            outside = tiles.squared_distances(rows, columns) - radii[columns].to(tiles.dtype)
            margin = tiles.margin(rows, columns, radii)
            counts[rows] += (outside < -margin).sum(dim=1)
            i, j = (outside.abs() <= margin).nonzero(as_tuple=True)
            few = max(1, _PAIRS // x.shape[1])
            for some_i, some_j in zip(i.split(few), j.split(few), strict=True):
                u, v = some_i + rows.start, some_j + columns.start
                inside = (x[u].double() - y[v].double()).square().sum(dim=1) <= radii[v]
                counts.index_add_(0, u, inside.to(torch.int64))
    return counts


def count_in_balls_reference(x: Tensor, y: Tensor, squared_radii: Tensor) -> Tensor:
    """Compute the same from all m×n differences, in float64."""
    distances = (x.double()[:, None, :] - y.double()[None, :, :]).square().sum(dim=2)
    return (distances <= squared_radii).sum(dim=1)


class _Tiles:
    """Squared distances of two sets tile by tile, ‖x‖² − 2 x·y + ‖y‖² about the centre of y, and their rounding."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.dtype = torch.float64 if x.shape[1] <= _FEW_DIMENSIONS else torch.float32
        centre = y.mean(dim=0, dtype=torch.float64)
        self._x, self._y = ((points.double() - centre).to(self.dtype) for points in (x, y))
        self._x_norms, self._y_norms = self._x.square().sum(dim=1), self._y.square().sum(dim=1)
        if not (torch.isfinite(self._x_norms).all() and torch.isfinite(self._y_norms).all()):
            raise InputError("x or y holds a row so far from the rest that squared distances overflow; scale it down.")
        # The bound on the error of a sum of d products, in units of the norms; twice, for the three terms together
        # with the rounding of the centred points.
        self._unit = 2 * (x.shape[1] + 4) * torch.finfo(self.dtype).eps

    def rows(self) -> Iterator[slice]:
        for start in range(0, len(self._x), TILE_ROWS):
            yield slice(start, min(start + TILE_ROWS, len(self._x)))

    def columns(self) -> Iterator[slice]:
        for start in range(0, len(self._y), TILE_COLUMNS):
            yield slice(start, min(start + TILE_COLUMNS, len(self._y)))

    def squared_distances(self, rows: slice, columns: slice) -> Tensor:
        with full_precision(self._x.device):
            products = self._x[rows] @ self._y[columns].T
        return products.mul_(-2).add_(self._x_norms[rows, None]).add_(self._y_norms[columns])

    def rounding(self, rows: slice) -> Tensor:
        """How far a row's squared distances may be off, (rows,) float64."""
        return self._unit * (self._x_norms[rows] + self._y_norms.max()).double()

    def margin(self, rows: slice, columns: slice, squared_radii: Tensor) -> Tensor:
        """How far squared distances less squared radii may be off, (rows, columns)."""
        size = self._y_norms[columns] + squared_radii[columns].to(self.dtype)
        return self._unit * (self._x_norms[rows, None] + size)


def _candidates(tiles: _Tiles, rows: slice, wanted: int, exclude_self: bool) -> tuple[Tensor, Tensor]:
    """Return the `wanted` smallest squared distances of some rows as the tiles see them, and whose they are."""
    values, index = [], []
    for columns in tiles.columns():
        distances = tiles.squared_distances(rows, columns)
        if exclude_self:
            own = torch.arange(rows.start, rows.stop, device=distances.device) - columns.start
            here = (own >= 0) & (own < distances.shape[1])
            distances[here.nonzero()[:, 0], own[here]] = torch.inf
        found = distances.topk(min(wanted, distances.shape[1]), dim=1, largest=False)
        values.append(found.values)
        index.append(found.indices + columns.start)
    best = torch.cat(values, dim=1).topk(wanted, dim=1, largest=False)
    return best.values, torch.cat(index, dim=1).gather(1, best.indices)


def _squared_differences(x: Tensor, y: Tensor, index: Tensor) -> Tensor:
    """Return ‖x_i − y_index(i, c)‖², (m, c) float64, a few rows at a time."""
    few = max(1, _PAIRS // (index.shape[1] * x.shape[1]))
    parts = zip(x.split(few), index.split(few), strict=True)
    return torch.cat([(rows.double()[:, None] - y[which].double()).square().sum(dim=2) for rows, which in parts])


def _directly(x: Tensor, y: Tensor, rows: Tensor, k: int, exclude_self: bool) -> Tensor:
    """Return the k smallest squared distances of a few rows from float64 differences with all of y."""
    found = []
    for row in rows.tolist():
        distances = _squared_differences(x[row, None].expand(len(y), -1), y, torch.arange(len(y))[:, None].to(rows))
        if exclude_self:
            distances[row] = torch.inf
        found.append(distances[:, 0].sort().values[:k])
    return torch.stack(found)


def _check(x: Tensor, y: Tensor) -> None:
    for name, tensor, rows in (("x", x, "m"), ("y", y, "n")):
        checks.require_shape(name, tensor, (rows, "d"))
        checks.require_floating(name, tensor)
        checks.require_finite_rows(name, tensor)
    if x.shape[1] != y.shape[1] or x.device != y.device:
        raise InputError(
            f"x and y must have the same width d and device, got {x.shape[1]} on {x.device} and {y.shape[1]} on "
            f"{y.device}."
        )
    if 0 in (*x.shape, *y.shape):
        raise InputError(f"x and y must have at least one row and column, got {tuple(x.shape)} and {tuple(y.shape)}.")
