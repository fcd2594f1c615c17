"""Nearest neighbours and balls: the tiles against float64 differences, equal to the last neighbour."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gancli.errors import InputError
from gancli.ops import distances
from gancli.ops.distances import (
    count_in_balls,
    count_in_balls_reference,
    nearest_squared_distances,
    nearest_squared_distances_reference,
)


def points(n: int, d: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distances, "TILE_ROWS", 16)
    monkeypatch.setattr(distances, "TILE_COLUMNS", 40)


SHAPES = [(1, 1, 1), (15, 17, 1), (16, 40, 2), (33, 81, 16), (50, 41, 17), (40, 120, 100)]


@pytest.mark.parametrize(("m", "n", "d"), SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nearest_equals_float64_differences(m: int, n: int, d: int, dtype: torch.dtype) -> None:
    x, y = points(m, d, 1, dtype), points(n, d, 2, dtype)
    k = min(5, n)
    expected = nearest_squared_distances_reference(x, y, k)
    # Only the order in which d squares are added may differ.
    torch.testing.assert_close(nearest_squared_distances(x, y, k), expected, rtol=1e-14, atol=0)


def test_a_point_is_no_neighbour_of_itself_but_its_duplicates_are() -> None:
    x = points(90, 3, 1)
    x[70] = x[4]
    found = nearest_squared_distances(x, x, 2, exclude_self=True)
    torch.testing.assert_close(
        found, nearest_squared_distances_reference(x, x, 2, exclude_self=True), rtol=1e-14, atol=0
    )
    assert (found[:, 0] == 0).nonzero()[:, 0].tolist() == [4, 70]


@pytest.mark.parametrize("spread", [1e-5, 0.0])
def test_points_closer_than_float32_can_tell_are_told_apart(spread: float) -> None:
    # A collapsed generator: thirty times nearly, or exactly, one point, and far from it another cluster.
    x = torch.cat([1 + spread * points(30, 20, 1), points(30, 20, 2)])
    found = nearest_squared_distances(x, x, 3, exclude_self=True)
    expected = nearest_squared_distances_reference(x, x, 3, exclude_self=True)
    torch.testing.assert_close(found, expected, rtol=1e-14, atol=0)


@pytest.mark.parametrize(("m", "n", "d"), SHAPES)
@pytest.mark.parametrize("shift", [0.0, 1000.0])
def test_balls_hold_what_float64_differences_say(m: int, n: int, d: int, shift: float) -> None:
    x, y = points(m, d, 1) + shift, points(n, d, 2) + shift
    radii = nearest_squared_distances_reference(x, y, 1)[0].expand(n).contiguous()
    radii = radii * torch.linspace(0.5, 2, n, dtype=torch.float64)
    assert torch.equal(count_in_balls(x, y, radii), count_in_balls_reference(x, y, radii))


def test_points_may_be_wider_than_what_is_settled_at_once() -> None:
    x = torch.zeros(2, (1 << 20) + 1)
    x[1, 0] = 2
    assert count_in_balls(x, x[:1], torch.tensor([1.0])).tolist() == [1, 0]


def test_a_point_on_the_edge_of_a_ball_is_inside() -> None:
    x = torch.tensor([[3.0, 4.0], [3.0, 4.000001]])
    assert count_in_balls(x, torch.zeros(1, 2), torch.tensor([25.0])).tolist() == [1, 0]
    wide = torch.nn.functional.pad(x, (0, 98))  # 100 dimensions: float32 tiles, settled in float64
    assert count_in_balls(wide, torch.zeros(1, 100), torch.tensor([25.0])).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("x", "y", "k", "word"),
    [
        (torch.zeros(3), torch.zeros(3, 1), 1, r"x must have shape"),
        (torch.zeros(3, 1), torch.zeros(3, 2), 1, "same width"),
        (torch.zeros(3, 1), torch.zeros(3, 1), 4, "k must be 1 to 3"),
        (torch.full((3, 1), float("nan")), torch.zeros(3, 1), 1, "x holds nan in row 0"),
        (torch.zeros(3, 1, dtype=torch.int64), torch.zeros(3, 1), 1, "floating point"),
        (torch.zeros(3, 1), torch.zeros(0, 1), 1, "k must be|at least one row"),
        (torch.full((3, 20), 1e30), torch.zeros(3, 20), 1, "overflow"),
    ],
)
def test_bad_arguments_are_named(x: Tensor, y: Tensor, k: int, word: str) -> None:
    with pytest.raises(InputError, match=word):
        nearest_squared_distances(x, y, k)
    if "k must" not in word:
        with pytest.raises(InputError, match=word):
            count_in_balls(x, y, torch.ones(len(y)))


def test_every_ball_has_one_radius() -> None:
    with pytest.raises(InputError, match="one value for each point"):
        count_in_balls(torch.zeros(3, 1), torch.zeros(4, 1), torch.ones(3))
