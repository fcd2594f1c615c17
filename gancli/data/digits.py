"""The embedded data set: handwritten-looking digits, 28×28 and grey, that the package draws itself."""

from __future__ import annotations

import math
import os
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from gancli.data.dataset import Dataset
from gancli.data.glyphs import POINTS, Floats, glyphs
from gancli.errors import UsageError

SIZE = 28  # pixels on a side
BOX = 20.0  # pixels on a side of the box that the ink is fitted to, as in MNIST

# Images are drawn in blocks of this size with one random stream per block, whatever part of it is asked for: image i
# then depends on (seed, i) alone. A multiple of 10 (each block holds every digit equally often), small enough that
# a block's arrays stay in cache.
BLOCK = 250

# load_digits draws its test images from here on, so that they do not depend on how many training images there are.
TEST_START = 1_000_000_000

# Softness of the distance to the ink, in pixels: more than half the spacing of the points, which makes them one line.
SOFT = 0.7

_LIMIT = 2**63


def load_digits(seed: int = 0, num_train: int = 60_000, num_test: int = 10_000) -> Dataset:
    """Draw the data set "digits", split as MNIST is: the last sixth of the training images is for validation.

    Args:
        seed: any whole number from 0; another seed gives other images of the same kind.
        num_train: training and validation images together, at least 2.
        num_test: test images, at least 1; image i of them is the same for every `num_train`.

    Returns:
        The data set; with the defaults 50,000 + 10,000 + 10,000 images.

    Raises:
        UsageError: a number is out of range.
    """
    _check("num_train", num_train, 2, TEST_START)
    _check("num_test", num_test, 1, TEST_START)
    train, _ = draw_digits(num_train, seed)
    test, _ = draw_digits(num_test, seed, start=TEST_START)
    cut = num_train - max(1, num_train // 6)
    images = torch.from_numpy(train)
    return Dataset("digits", images[:cut], images[cut:], torch.from_numpy(test))


def draw_digits(num: int, seed: int, *, start: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw the digits number `start` to `start + num - 1` of an endless sequence fixed by `seed`.

    draw_digits(10, s, start=5) is draw_digits(15, s)[5:], bit for bit, on any number of threads. Between machines a
    pixel may differ by one grey level, where their exp and log differ in the last bit.

    Args:
        num: how many, from 0.
        seed: any whole number from 0 to 2⁶³ − 1.
        start: the place in the sequence of the first one.

    Returns:
        images: (num, 1, 28, 28), uint8, white ink (255) on black (0).
        labels: (num,), uint8, the digit that each image shows.

    Raises:
        UsageError: a number is out of range.
    """
    _check("num", num, 0, _LIMIT)
    _check("seed", seed, 0, _LIMIT)
    _check("start", start, 0, _LIMIT - num)
    images = np.empty((num, 1, SIZE, SIZE), np.uint8)
    labels = np.empty(num, np.uint8)

    def fill(block: int) -> None:
        low, high = max(block * BLOCK, start), min((block + 1) * BLOCK, start + num)
        drawn, digits = _draw_block(seed, block)
        inside = slice(low - block * BLOCK, high - block * BLOCK)
        images[low - start : high - start, 0] = drawn[inside]
        labels[low - start : high - start] = digits[inside]

    blocks = range(start // BLOCK, -(-(start + num) // BLOCK))
    if len(blocks) < 2:
        for block in blocks:
            fill(block)
    else:  # NumPy lets go of the interpreter's lock while it computes, so threads share the work
        with ThreadPoolExecutor(min(len(blocks), os.cpu_count() or 1, 16)) as pool:
            list(pool.map(fill, blocks))
    return images, labels


def _check(name: str, value: int, low: int, high: int) -> None:
    """Raise UsageError unless `value` is a whole number from `low` to `high` − 1."""
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or not low <= value < high:
        raise UsageError(f"digits: {name} must be a whole number from {low} to {high - 1}, got {value!r}")


def _draw_block(seed: int, block: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw the images (BLOCK, 28, 28) and labels (BLOCK,) of one block, both uint8."""
    key, counter = np.array([seed, 0], np.uint64), np.array([0, 0, 0, block], np.uint64)
    rng = np.random.Generator(np.random.Philox(key=key, counter=counter))
    labels = rng.permutation(np.arange(BLOCK, dtype=np.uint8) % 10)
    points, along = _write(rng, labels)
    points = _tilt(rng, points)
    pen = _choose_pen(rng, points)
    return _ink(rng, _fit(rng, points, pen), along, pen), labels


class _Pen(NamedTuple):
    """What each image is written with, (BLOCK, 1) each and in pixels."""

    radius: Floats  # half the width of the line, where the ink is half as bright as it gets
    edge: Floats  # width of the seam in which the ink fades from full to none


def _write(rng: np.random.Generator, labels: NDArray[np.uint8]) -> tuple[Floats, Floats]:
    """Write each digit in a style of its own, with an unsteady hand.

    Args:
        rng: the block's stream.
        labels: (BLOCK,), uint8.

    Returns:
        points: (BLOCK, POINTS, 2), float32, (x, y) along the pen's way, of about −1..1.
        along: (BLOCK, POINTS), float32, place along the stroke, 0..1.
    """
    table = glyphs()
    style = (table.edges[labels] <= _uniform(rng, 0.0, 1.0)).sum(axis=1)
    mixture = _uniform(rng, -1.1, 1.1)[:, :, None]
    knots = table.middle[style] + mixture * table.spread[style]
    # Neighbouring knots move together, or round digits turn into polygons.
    jitter = rng.standard_normal((BLOCK, knots.shape[1] + 2, 2), np.float32)
    knots += 0.033 * (jitter[:, :-2] + 2 * jitter[:, 1:-1] + jitter[:, 2:])
    points = table.basis[style] @ knots
    # A smooth bend of the whole sheet: x and y each move by a quadratic form in (x, y).
    x, y = points[:, :, 0], points[:, :, 1]
    terms = np.stack([x * x, x * y, y * y], axis=2)
    points += terms @ (0.09 * rng.standard_normal((BLOCK, 3, 2), np.float32))
    return points, table.along[style]


def _tilt(rng: np.random.Generator, points: Floats) -> Floats:
    """Stretch, slant and turn each digit (BLOCK, POINTS, 2)."""
    stretch = np.exp(0.03 + 0.19 * _normal(rng, 1))
    slant = 0.12 + 0.27 * _normal(rng, 1)
    turn = 0.08 * _normal(rng, 1)
    x, y = points[:, :, 0] * stretch, points[:, :, 1]
    x = x - slant * y
    return np.stack([x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)], axis=2)


def _choose_pen(rng: np.random.Generator, points: Floats) -> _Pen:
    """Draw a pen for each image, from a fine ballpoint to a felt tip, but none that fills the loops."""
    low, high = points.min(axis=1), points.max(axis=1)
    sides = (high - low) * (0.9 * BOX / (high - low).max(axis=1, keepdims=True))
    length = POINTS * _spacing(points) * sides.max(axis=1) / (high - low).max(axis=1)
    # Area over length is the mean distance between neighbouring lines; a lone stroke, without area, has none.
    gap = np.maximum(sides, 8).prod(axis=1) / length
    radius = np.clip(1.3 * np.exp(0.25 * _normal(rng, 1)), 0.75, 2.2)
    radius = np.minimum(radius, 0.46 * gap[:, None])
    # An edge wider than the radius would leave a thin line grey.
    return _Pen(radius, np.minimum(radius, _uniform(rng, 0.9, 1.5)))


def _fit(rng: np.random.Generator, points: Floats, pen: _Pen) -> Floats:
    """Fit each digit as MNIST does: into the box, its mass in the middle.

    Returns:
        (BLOCK, POINTS, 2), float32, in pixels; pixel (row, column) has its centre at y = row, x = column.
    """
    low, high = points.min(axis=1, keepdims=True), points.max(axis=1, keepdims=True)
    reach = (pen.radius + pen.edge / 2)[:, :, None]  # how far the ink goes beyond the pen's way
    # MNIST's 20 pixels count those that are barely touched, half a pixel at either end.
    room = (BOX + 1 - 2 * reach) * _uniform(rng, 0.95, 1.0)[:, :, None]
    scale = room / (high - low).max(axis=2, keepdims=True)
    points, low, high = points * scale, low * scale, high * scale
    # MNIST moves the centre of mass to the middle of the image by whole pixels, which leaves half a pixel either way.
    move = SIZE / 2 - points.mean(axis=1, keepdims=True) + _uniform(rng, -0.5, 0.5, 2)[:, None, :]
    # The rim of the image stays empty: ink begins a pixel from its middle, to spare for trembling and pressure.
    move = np.clip(move, 1 + reach - low, SIZE - 2 - reach - high)
    # The hand trembles.
    placed: Floats = points + move + 0.12 * rng.standard_normal(points.shape, np.float32)
    return placed


def _ink(rng: np.random.Generator, points: Floats, along: Floats, pen: _Pen) -> NDArray[np.uint8]:
    """Put the ink on the paper.

    A pixel at squared distances d_j² from the points has the soft squared distance to the line
    d² = −2s² log Σ_j w_j exp(−d_j² / 2s²), a smooth minimum. As exp(−d_j²) is a product of a function of the row and
    one of the column, the sum over j is a matrix product, many times cheaper than distances to line segments.
    Pressure enters through w_j: log w_j = (r_j² − r²) / 2s² turns the radius r into r_j at point j.

    Args:
        rng: the block's stream.
        points: (BLOCK, POINTS, 2), float32, in pixels.
        along: (BLOCK, POINTS), float32, place along the stroke, 0..1.
        pen: the radius r and the edge of each image.

    Returns:
        (BLOCK, 28, 28), uint8.
    """
    wave = np.cos(2 * math.pi * (_uniform(rng, 0.3, 1.2) * along + _uniform(rng, 0.0, 1.0)))
    pressure = 1 + 0.12 * _normal(rng, 1) * wave + 0.08 * _normal(rng, POINTS)
    weight = pen.radius**2 * (pressure**2 - 1) / (2 * SOFT**2)
    grid = np.arange(SIZE, dtype=np.float32)[None, :, None]
    root = math.sqrt(0.5) / SOFT
    # Exponents below −40 cannot matter; cutting there keeps products clear of slow denormal numbers.
    columns = np.square(grid * root - points[:, None, :, 0] * root)
    columns = np.exp(np.maximum(weight[:, None, :] - columns, -40))
    rows = np.square(grid * root - points[:, None, :, 1] * root)
    rows = np.exp(np.maximum(-rows, -40))
    field = np.log(rows @ columns.transpose(0, 2, 1))
    # Close points add up: a line of spacing h has Σ = s √(2π) / h on its axis, which must count as distance 0.
    field -= np.log(SOFT * math.sqrt(2 * math.pi) / _spacing(points))[:, None, None]
    # r − d is near enough (r² − d²) / 2r around d = r.
    slope = 1 / (2 * pen.radius * pen.edge)
    field *= (2 * SOFT**2 * slope)[:, :, None]
    field += (0.5 + pen.radius**2 * slope)[:, :, None]
    np.clip(field, 0, 1, out=field)
    field *= 255
    ink: NDArray[np.uint8] = np.rint(field, out=field).astype(np.uint8)
    return ink


def _spacing(points: Floats) -> Floats:
    """Distance from each point to the next, (BLOCK,); the median, which a lift of the pen does not move."""
    steps = np.diff(points, axis=1)
    spacing: Floats = np.median(np.hypot(steps[:, :, 0], steps[:, :, 1]), axis=1)
    return spacing


def _normal(rng: np.random.Generator, columns: int) -> Floats:
    """Standard normal numbers (BLOCK, columns), float32."""
    return rng.standard_normal((BLOCK, columns), np.float32)


def _uniform(rng: np.random.Generator, low: float, high: float, columns: int = 1) -> Floats:
    """Uniform numbers (BLOCK, columns) in low..high, float32."""
    numbers: Floats = rng.random((BLOCK, columns), np.float32) * (high - low) + low
    return numbers
