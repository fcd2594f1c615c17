"""Interpolations in z space: rows of frames (Figure 3), and the same as an animation."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from PIL import Image

from gancli.figures.grid import write_pixel_grid
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

_WANTED_WIDTH = 280  # pixels; less than for a still picture, since every step is stored
_ONE_WAY = 1600  # milliseconds from the first frame to the last, within the two limits below
_SHORTEST, _LONGEST = 40, 200  # milliseconds per frame: browsers slow shorter ones down, longer ones look stuck
_PALETTE_PIXELS = 20_000  # pixels that the palette of a colour animation is chosen from


def save_interpolation(path: Path, frames: Tensor, *, scale: int | None = None) -> None:
    """Write interpolations as a PNG, one row per pair of end points, its steps from left to right.

    Args:
        path: The file to write, ending in .png.
        frames: (pairs, steps, channels, height, width), uint8, 1 or 3 channels.
        scale: The enlargement of every frame; None chooses one.

    Raises:
        UsageError: When the frames are not as above, the scale is out of range or the ending is another.
        GancliError: When the file cannot be written.

    Source: Figure 3.
    """
    pixels = to_pixels(frames, name="frames", leading="pairs, steps")
    pairs, steps = pixels.shape[:2]
    cells = pixels.reshape(pairs * steps, *pixels.shape[2:])
    write_pixel_grid(path, cells, columns=steps, scale=scale)


def save_animation(
    path: Path,
    frames: Tensor,
    *,
    columns: int | None = None,
    scale: int | None = None,
    duration: int | None = None,
    bounce: bool = True,
) -> None:
    """Write an interpolation as a GIF that repeats for ever.

    Args:
        path: The file to write, ending in .gif.
        frames: (steps, channels, height, width), or (steps, images, channels, height, width) for a grid at each
            step; uint8, 1 or 3 channels.
        columns: Images per row of that grid; None makes it about square.
        scale: The enlargement of every image; None chooses one.
        duration: Milliseconds per frame, which the format rounds to tens; None takes about 1.6 seconds from the
            first frame to the last.
        bounce: Play the steps forwards, then backwards, so that nothing jumps; False for frames whose last is
            followed by the first.

    Raises:
        UsageError: When the frames are not as above, a number is out of range or the ending is another.
        GancliError: When the file cannot be written.
    """
    check_ending(path, ".gif")
    if frames.ndim == 4:
        pixels = to_pixels(frames, name="frames", leading="steps")[:, None]
    else:
        pixels = to_pixels(frames, name="frames", leading="steps, images")
    steps, n, height, width, _ = pixels.shape
    if columns is None:
        columns = math.ceil(math.sqrt(n))
    check_positive(columns, name="columns")
    columns = min(columns, n)
    if scale is None:
        scale = choose_scale(columns * width, math.ceil(n / columns) * height, wanted=_WANTED_WIDTH)
    check_positive(scale, name="scale")
    if duration is None:
        duration = min(max(round(_ONE_WAY / steps, -1), _SHORTEST), _LONGEST)
    check_positive(duration, name="duration", least=20)

    indices, palette, background = _to_palette(pixels)
    order = [*range(steps), *range(steps - 2, 0, -1)] if bounce else list(range(steps))
    images = []
    for step in order:
        picture = tile(enlarge(indices[step], scale), columns=columns, padding=SEPARATOR, background=background)
        image = Image.fromarray(picture[:, :, 0])
        image.putpalette(palette)
        images.append(image)

    def write(stream: BinaryIO) -> None:
        images[0].save(stream, format="GIF", save_all=True, append_images=images[1:], duration=duration, loop=0)

    atomic_write(path, write)


def _to_palette(pixels: Pixels) -> tuple[Pixels, bytes, int]:
    """Turn images into indices of one palette for all frames: with one per frame, still colours flicker.

    Args:
        pixels: (..., height, width, channels), uint8.

    Returns:
        The indices (..., height, width, 1), uint8; the palette, 256 RGB triples; the index of the background.
    """
    background = choose_background(pixels)
    if pixels.shape[-1] == 1:
        ramp = np.arange(256, dtype=np.uint8).repeat(3)
        return pixels, ramp.tobytes(), background
    colours = pixels.reshape(-1, 1, 3)
    # An odd step: an even one could meet the same few columns of every image.
    some = np.ascontiguousarray(colours[:: len(colours) // _PALETTE_PIXELS | 1])
    # 255 colours: the last index is kept for the background, which must not drift towards the images' colours.
    chosen = Image.fromarray(some).quantize(255, method=Image.Quantize.MAXCOVERAGE, kmeans=1)
    # No dithering: its dots would be enlarged with the pixels, and would crawl from frame to frame.
    quantized = Image.fromarray(colours).quantize(palette=chosen, dither=Image.Dither.NONE)
    palette = bytes(chosen.getpalette() or []).ljust(255 * 3, b"\0")[: 255 * 3] + bytes([background] * 3)
    return np.asarray(quantized).reshape(*pixels.shape[:-1], 1), palette, 255
