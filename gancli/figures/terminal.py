"""A preview of samples in the terminal, two pixels to a character."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gancli.errors import UsageError
from gancli.figures.pixels import Pixels, check_positive, to_pixels

if TYPE_CHECKING:
    from rich.text import Text
    from torch import Tensor

_GAP = 2  # characters between images; a line between rows is as high as two characters are wide
_SHADES = " .:-=+*#%@"  # from dark to light on a dark terminal; plain ASCII, which any encoding can print
_LUMINANCE = (0.299, 0.587, 0.114)


def render_ascii(images: Tensor, *, columns: int, width: int, color: bool = True) -> Text:
    """Render a sample grid as text: the half block ▀ in two colours, or shades where there is no colour.

    A character is about twice as high as it is wide, so that it shows two square pixels, one above the other.
    Images too wide for the terminal are shrunk; none is enlarged.

    Args:
        images: (n, channels, height, width), uint8, 1 or 3 channels.
        columns: Images per row.
        width: Characters per line that the text may take.
        color: Use colours, which rich adapts to what the terminal can do; False writes ASCII shades, light
            pixels as dense characters.

    Returns:
        The lines, none longer than `width`, joined by line ends.

    Raises:
        UsageError: When the images are not as above, a number is out of range or `width` is too small for
            `columns`.
    """
    from rich.text import Text

    pixels = to_pixels(images, name="images")
    check_positive(columns, name="columns")
    columns = min(columns, len(pixels))
    side = (width - _GAP * (columns - 1)) // columns
    if side < 1:
        raise UsageError(f"width: expected {columns + _GAP * (columns - 1)} or more, got {width}")
    cells = _shrink(pixels, side)
    text = Text(no_wrap=True, overflow="crop")
    for first in range(0, len(cells), columns):
        row = cells[first : first + columns]
        if first:
            text.append("\n\n")
        for y in range(0, row.shape[1], 2):
            if y:
                text.append("\n")
            for i, cell in enumerate(row):
                if i:
                    text.append(" " * _GAP)
                if color:
                    _append_blocks(text, cell[y : y + 2])
                else:
                    _append_shades(text, cell[y : y + 2])
    return text


def _shrink(pixels: Pixels, side: int) -> Pixels:
    """Shrink images (n, h, w, c) to at most `side` pixels in width, as RGB (n, h', w', 3)."""
    _, height, width, channels = pixels.shape
    rgb = pixels if channels == 3 else pixels.repeat(3, axis=-1)
    if width <= side:
        return rgb
    size = (side, max(1, round(height * side / width)))
    return np.stack([np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX)) for image in rgb])


def _append_blocks(text: Text, pair: Pixels) -> None:
    """Append one line of an image: (1 or 2, width, 3) pixels, the lower ones absent below an odd height."""
    from rich.color import Color
    from rich.style import Style

    levels = pair.transpose(1, 0, 2).tolist()
    # Equal neighbours become one span: most of a digit is background.
    start = 0
    for end in range(1, len(levels) + 1):
        if end == len(levels) or levels[end] != levels[start]:
            upper, *lower = levels[start]
            style = Style(color=Color.from_rgb(*upper), bgcolor=Color.from_rgb(*lower[0]) if lower else None)
            text.append("▀" * (end - start), style)
            start = end


def _append_shades(text: Text, pair: Pixels) -> None:
    """Append one line of an image: (1 or 2, width, 3) pixels as ASCII."""
    light: NDArray[np.float64] = pair.mean(axis=0) @ np.array(_LUMINANCE)
    indices = np.rint(light / 255 * (len(_SHADES) - 1)).astype(int)
    text.append("".join(_SHADES[i] for i in indices))
