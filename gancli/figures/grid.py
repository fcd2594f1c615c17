"""Sample grids, plain and with nearest training examples (Figure 2)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from PIL import Image

from gancli.errors import UsageError
from gancli.figures.pixels import (
    SEPARATOR,
    Pixels,
    check_ending,
    check_positive,
    choose_background,
    choose_scale,
    enlarge,
    tile,
    to_pixels,
)
from gancli.files import atomic_write

if TYPE_CHECKING:
    from torch import Tensor

_YELLOW = (255, 209, 0)
_FRAME = 4  # pixels; wider than a separator, so that the frame is seen at first glance


def save_grid(path: Path, images: Tensor, *, columns: int, scale: int | None = None) -> None:
    """Write a sample grid as a PNG.

    Args:
        path: The file to write, ending in .png.
        images: (n, channels, height, width), uint8, 1 or 3 channels.
        columns: Images per row.
        scale: The enlargement of every image, each pixel becoming a square of this side; the lines between the
            images stay thin. None chooses one that makes the picture comfortable to look at.

    Raises:
        UsageError: When the images are not as above, a number is out of range or the ending is another.
        GancliError: When the file cannot be written.
    """
    pixels = to_pixels(images, name="images")
    check_positive(columns, name="columns")
    write_pixel_grid(path, pixels, columns=min(columns, len(pixels)), scale=scale)


def save_sample_grid_with_neighbours(
    path: Path, samples: Tensor, neighbours: Tensor, *, columns: int = 5, scale: int | None = None
) -> None:
    """Write samples and, framed in yellow, the training example nearest to the last sample of each row.

    The samples of row r are samples[r·columns : (r + 1)·columns]; neighbours[r] belongs to the last of them, the
    one it stands next to.

    Args:
        path: The file to write, ending in .png.
        samples: (rows·columns, channels, height, width), uint8, 1 or 3 channels.
        neighbours: (rows, channels, height, width), uint8.
        columns: Samples per row, the neighbour not counted.
        scale: The enlargement of every image; None chooses one.

    Raises:
        UsageError: When the shapes are not as above or do not fit each other.
        GancliError: When the file cannot be written.

    Source: Figure 2.
    """
    check_ending(path, ".png")
    check_positive(columns, name="columns")
    left, right = to_pixels(samples, name="samples"), to_pixels(neighbours, name="neighbours")
    n, height, width, _ = left.shape
    if n % columns:
        raise UsageError(f"samples: expected full rows of {columns}, got {n} samples")
    if right.shape != (n // columns, *left.shape[1:]):
        raise UsageError(
            f"neighbours: expected one per row of samples, shape {(n // columns, *samples.shape[1:])}, "
            f"got {tuple(neighbours.shape)}"
        )
    if scale is None:
        scale = choose_scale((columns + 1) * width, len(right) * height)
    check_positive(scale, name="scale")
    # One line width for both parts: their rows then stand level. The lines of the right part are the frame.
    background = choose_background(left)
    cells = tile(enlarge(left, scale), columns=columns, padding=_FRAME, background=background)
    frame = tile(_to_rgb(enlarge(right, scale)), columns=1, padding=_FRAME, background=_YELLOW)
    gap = np.full((len(cells), 2 * _FRAME, 3), background, np.uint8)
    margin = np.full((len(cells), _FRAME, 3), background, np.uint8)
    picture = np.concatenate((_to_rgb(cells), gap, frame, margin), axis=1)
    write_png(path, picture)


def write_pixel_grid(path: Path, pixels: Pixels, *, columns: int, scale: int | None) -> None:
    """Enlarge, lay out and write images whose shape is already checked.

    Args:
        path: The file to write, ending in .png.
        pixels: (n, height, width, channels), uint8.
        columns: Images per row, at most n.
        scale: The enlargement of every image; None chooses one.

    Raises:
        UsageError: When the scale is out of range or the ending is another.
        GancliError: When the file cannot be written.
    """
    check_ending(path, ".png")
    n, height, width, _ = pixels.shape
    if scale is None:
        scale = choose_scale(columns * width, -(-n // columns) * height)
    check_positive(scale, name="scale")
    background = choose_background(pixels)
    write_png(path, tile(enlarge(pixels, scale), columns=columns, padding=SEPARATOR, background=background))


def write_png(path: Path, picture: Pixels) -> None:
    """Write one finished picture as a PNG, whole or not at all.

    Args:
        path: The file to write.
        picture: (height, width, 1 or 3), uint8.

    Raises:
        GancliError: When the file cannot be written.
    """
    image = Image.fromarray(picture[:, :, 0] if picture.shape[2] == 1 else picture)

    def write(stream: BinaryIO) -> None:
        image.save(stream, format="PNG", optimize=True)

    atomic_write(path, write)


def _to_rgb(pixels: Pixels) -> Pixels:
    return pixels if pixels.shape[-1] == 3 else pixels.repeat(3, axis=-1)
