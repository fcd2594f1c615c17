import io

import pytest
import torch
from rich.console import Console
from rich.text import Text

from gancli.errors import UsageError
from gancli.figures import render_ascii


def colours(line: Text) -> list[tuple[object, object]]:
    """For each character its upper and lower colour, None where it has none."""
    found = []
    for i in range(len(line)):
        (style,) = [span.style for span in line.spans if span.start <= i < span.end] or [None]
        upper = tuple(style.color.triplet) if style and style.color else None
        lower = tuple(style.bgcolor.triplet) if style and style.bgcolor else None
        found.append((upper, lower))
    return found


def test_a_character_shows_two_pixels_the_upper_in_front_and_the_lower_behind() -> None:
    images = torch.tensor([[[[0, 255], [10, 20]]]], dtype=torch.uint8)
    text = render_ascii(images, columns=1, width=10)
    assert text.plain == "▀▀"
    assert colours(text) == [((0, 0, 0), (10, 10, 10)), ((255, 255, 255), (20, 20, 20))]


def test_colour_images_keep_their_colours() -> None:
    images = torch.tensor([[[[1], [4]], [[2], [5]], [[3], [6]]]], dtype=torch.uint8)
    assert colours(render_ascii(images, columns=1, width=10)) == [((1, 2, 3), (4, 5, 6))]


def test_below_an_odd_height_the_terminal_shows_through() -> None:
    images = torch.full((1, 1, 3, 1), 7, dtype=torch.uint8)
    text = render_ascii(images, columns=1, width=10)
    assert text.plain == "▀\n▀"
    upper, lower = colours(text)[0], colours(text)[2]
    assert upper == ((7, 7, 7), (7, 7, 7))
    assert lower == ((7, 7, 7), None)


def test_images_stand_in_rows_with_gaps_between_them() -> None:
    images = torch.zeros(3, 1, 2, 2, dtype=torch.uint8)
    assert render_ascii(images, columns=2, width=20).plain == "▀▀  ▀▀\n\n▀▀"


@pytest.mark.parametrize("color", [True, False])
@pytest.mark.parametrize("width", [13, 40, 80, 200])
def test_no_line_is_longer_than_the_width(width: int, color: bool) -> None:
    images = torch.randint(0, 256, (10, 1, 28, 28), dtype=torch.uint8)
    lines = render_ascii(images, columns=5, width=width, color=color).plain.split("\n")
    longest = max(len(line) for line in lines)
    assert longest <= width
    assert longest >= min(width - 5, 5 * 28 + 8), "the width is used as far as the images reach"


def test_shrinking_keeps_the_mean_and_the_proportions() -> None:
    images = torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    images[:, :, :4] = 200  # upper half light
    text = render_ascii(images, columns=1, width=4)
    assert text.plain == "▀▀▀▀\n▀▀▀▀"
    shown = colours(text)
    assert shown[0] == ((200, 200, 200), (200, 200, 200))
    assert shown[5] == ((0, 0, 0), (0, 0, 0))


def test_without_colour_light_pixels_are_dense_ascii() -> None:
    images = torch.tensor([[[[0, 128, 255], [0, 128, 255]]]], dtype=torch.uint8)
    text = render_ascii(images, columns=1, width=10, color=False)
    assert text.plain.isascii()
    assert text.plain[0] == " "
    assert text.plain[2] == "@"
    assert text.plain[1] not in " @"
    assert text.spans == []


def test_without_colour_green_counts_as_lighter_than_blue() -> None:
    ramp = " .:-=+*#%@"
    green = torch.tensor([0, 255, 0], dtype=torch.uint8).reshape(1, 3, 1, 1)
    blue = torch.tensor([0, 0, 255], dtype=torch.uint8).reshape(1, 3, 1, 1)
    levels = [ramp.index(render_ascii(image, columns=1, width=1, color=False).plain) for image in (green, blue)]
    assert levels[0] > levels[1] > 0


def test_a_console_prints_true_colours_and_256_colours() -> None:
    # Two levels per console: rich remembers how it once wrote a style, whatever the console.
    for system, level, code in (("truecolor", 200, "38;2;200;200;200;48;2;100"), ("256", 190, "38;5;")):
        images = torch.tensor([[[[level], [100]]]], dtype=torch.uint8)
        out = io.StringIO()
        console = Console(file=out, force_terminal=True, color_system=system, width=10)  # type: ignore[arg-type]
        console.print(render_ascii(images, columns=1, width=10))
        assert code in out.getvalue()
        assert "▀" in out.getvalue()


def test_other_input_is_refused() -> None:
    images = torch.zeros(5, 1, 2, 2, dtype=torch.uint8)
    with pytest.raises(UsageError, match="width: expected 13 or more, got 12"):
        render_ascii(images, columns=5, width=12)
    with pytest.raises(UsageError, match="columns: expected 1 or more, got 0"):
        render_ascii(images, columns=0, width=12)
    with pytest.raises(UsageError, match="images: expected uint8"):
        render_ascii(images.float(), columns=5, width=80)
