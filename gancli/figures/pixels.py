"""What every picture made of images shares: checked pixels, tiling, whole-number scaling, file endings."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gancli.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

Pixels = NDArray[np.uint8]

SEPARATOR = 2  # pixels between neighbouring images of a finished picture
_LARGEST_SIDE = 2000  # no picture is enlarged so far that a side exceeds this
_LIGHT_BORDER = 160  # images whose edges are lighter than this need separators darker than white
_WHITE, _GREY = 255, 128


def to_pixels(images: Tensor, *, name: str, leading: str = "n") -> Pixels:
    """Check a tensor of images and lay it out the way picture files do, channels last.

    Args:
        images: (*leading, channels, height, width), uint8, 1 or 3 channels, on any device.
        name: What the caller calls this argument, for the error.
        leading: The names of the axes in front, separated by commas.

    Returns:
        (*leading, height, width, channels), uint8.

    Raises:
        UsageError: When the dtype, the number of axes or channels is another, or an axis is empty.
    """
    import torch  # loaded already, since the caller holds a tensor; at the top it would slow every import

    expected = f"uint8 images ({leading}, 1 or 3 channels, height, width)"
    axes = leading.count(",") + 4
    found = f"{images.dtype} of shape {tuple(images.shape)}".removeprefix("torch.")
    if images.dtype != torch.uint8 or images.ndim != axes or images.shape[-3] not in (1, 3):
        raise UsageError(f"{name}: expected {expected}, got {found}")
    if images.numel() == 0:
        raise UsageError(f"{name}: expected {expected}, at least one of them, got {found}")
    pixels: Pixels = np.moveaxis(images.detach().cpu().numpy(), -3, -1)
    return pixels


def check_positive(value: int, *, name: str, least: int = 1) -> None:
    """Refuse a count or size below the least that makes sense.

    Args:
        value: The number.
        name: What the caller calls it, for the error.
        least: The smallest allowed.

    Raises:
        UsageError: When `value` is smaller.
    """
    if value < least:
        raise UsageError(f"{name}: expected {least} or more, got {value}")


def check_ending(path: Path, *endings: str) -> str:
    """Find out which kind of file a path asks for.

    Args:
        path: The file to write.
        endings: Those that can be written, in lower case with their dot.

    Returns:
        The ending, in lower case without its dot.

    Raises:
        UsageError: When the path has none of them.
    """
    ending = path.suffix.lower()
    if ending not in endings:
        raise UsageError(f"cannot write {path}: expected a name that ends in {' or '.join(endings)}")
    return ending.removeprefix(".")


def choose_scale(width: int, height: int, *, wanted: int = 400) -> int:
    """Choose the whole-number enlargement at which small images are comfortable to look at.

    Args:
        width: Of the picture at scale 1, in pixels.
        height: The same.
        wanted: The least width of the enlarged picture.

    Returns:
        The smallest scale that makes it at least that wide, less where a side would pass 2000.
    """
    return max(1, min(math.ceil(wanted / width), _LARGEST_SIDE // max(width, height)))


def enlarge(pixels: Pixels, scale: int) -> Pixels:
    """Enlarge images by a whole number, each pixel becoming a square.

    Args:
        pixels: (..., height, width, channels), uint8.
        scale: The side of the square.

    Returns:
        (..., height·scale, width·scale, channels), uint8.
    """
    return pixels.repeat(scale, axis=-3).repeat(scale, axis=-2)


def choose_background(pixels: Pixels) -> int:
    """Choose the grey level of separators that set these images apart: white, or grey for images with light edges.

    Args:
        pixels: (..., height, width, channels), uint8.

    Returns:
        A level in 0..255.
    """
    rows, columns = pixels[..., [0, -1], :, :], pixels[..., :, [0, -1], :]
    border = np.median(np.concatenate((rows.ravel(), columns.ravel())))
    return _GREY if border > _LIGHT_BORDER else _WHITE


def tile(pixels: Pixels, *, columns: int, padding: int, background: int | tuple[int, int, int]) -> Pixels:
    """Lay images out row by row, with lines of the background between and around them.

    Args:
        pixels: (n, height, width, channels), uint8.
        columns: Images per row; cells left over in the last row show the background.
        padding: The width of a line, in pixels.
        background: One level for every channel, or one each.

    Returns:
        (rows·(height + padding) + padding, columns·(width + padding) + padding, channels), uint8.
    """
    n, height, width, channels = pixels.shape
    rows = math.ceil(n / columns)
    pitch_y, pitch_x = height + padding, width + padding
    canvas = np.empty((rows * pitch_y + padding, columns * pitch_x + padding, channels), np.uint8)
    canvas[:] = background
    for i, image in enumerate(pixels):
        top, left = padding + i // columns * pitch_y, padding + i % columns * pitch_x
        canvas[top : top + height, left : left + width] = image
    return canvas
