"""How the digits 0 to 9 are written: pen paths for each style, and the splines that turn them into points."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

# Points along every glyph. The longest, an 8, is about 65 pixels of ink, so that neighbours lie a pixel apart.
POINTS = 64


class Style(NamedTuple):
    """One way of writing a digit, given as two extremes between which (and a little beyond) every writer falls.

    A path is a list of knots `x,y` in a box of 100 by 100, y downwards, in the order in which the pen meets
    them. A smooth curve passes through them; `!` marks a knot where the pen turns sharply, `|` lifts the pen.
    Both paths have the same knots, marks and lifts, so any mixture of them is a path too.
    """

    digit: int
    share: float  # of the digit's images; the shares of a digit are divided by their sum
    path: str
    other: str


STYLES: tuple[Style, ...] = (
    # 0: wide to narrow; ends crossing at the top; an egg drawn the other way round; a hook inside.
    Style(
        0,
        4,
        "58,4 28,8 9,36 10,68 32,96 66,92 88,62 84,26 60,5 46,4",
        "60,2 42,10 27,38 24,68 34,95 54,92 70,62 74,30 66,8 52,3",
    ),
    Style(
        0,
        3,
        "70,12 46,0 18,20 6,56 20,92 52,98 84,72 90,36 70,8 40,10",
        "76,4 50,6 28,28 18,60 22,90 46,98 70,76 78,42 68,12 50,2",
    ),
    Style(
        0,
        1.5,
        "30,14 60,0 86,26 88,64 64,96 32,96 10,66 12,30 34,6 52,8",
        "24,26 54,2 78,20 80,60 60,94 36,98 20,72 22,36 38,10 60,2",
    ),
    Style(
        0,
        1.5,
        "46,26 66,14 44,2 14,26 8,64 34,97 70,88 90,54 80,18 54,6",
        "62,22 72,8 50,4 26,30 20,66 36,96 60,86 76,54 76,24 64,8",
    ),
    # 1: a plain stroke, bent to either side; with a flag; with a flag and a base.
    Style(1, 8, "56,0 52,50 46,100", "47,0 51,50 50,100"),
    Style(1, 1.4, "34,22 46,12 56,0! 54,50 54,100", "42,10 48,6 54,2! 52,50 50,100"),
    Style(
        1,
        0.6,
        "28,24 44,14 54,0! 54,50 54,98 | 26,98 54,97 84,99",
        "36,14 46,10 54,2! 52,50 50,96 | 34,98 50,97 70,95",
    ),
    # 2: with a sharp foot; with a loop at the foot; with a round neck and a wavy foot.
    Style(
        2,
        4,
        "12,20 40,3 76,14 72,44 44,72 10,98! 48,94 92,96",
        "6,10 38,6 70,8 64,34 36,64 4,94! 48,90 98,86",
    ),
    Style(
        2,
        3,
        "16,26 42,2 76,18 70,50 42,80 16,95 7,82 26,74 50,88 74,97 96,88",
        "26,18 50,0 76,22 62,56 32,84 12,90 14,76 36,78 56,90 76,94 100,78",
    ),
    Style(
        2,
        2,
        "10,32 20,8 52,0 82,22 74,48 46,72 16,92! 34,84 60,97 94,90",
        "24,22 34,6 56,2 72,18 66,44 44,72 20,98! 36,92 58,95 82,97",
    ),
    # 3: with a sharp waist; with a flat top; with a small loop or none at the waist.
    Style(
        3,
        4,
        "12,14 42,0 76,16 66,40 36,48! 70,53 86,74 64,96 34,100 6,86",
        "20,8 46,2 70,14 60,36 42,46! 62,52 72,74 54,95 28,99 12,94",
    ),
    Style(
        3,
        1.2,
        "12,6 42,5 80,3! 60,24 40,40! 70,45 86,68 66,95 34,100 8,88",
        "20,4 44,6 68,8! 56,26 46,42! 68,50 72,72 54,95 30,98 16,90",
    ),
    Style(
        3,
        2,
        "14,16 44,0 76,18 60,42 40,51 34,44 50,44 82,62 76,88 44,100 8,88",
        "18,8 50,2 70,16 58,38 44,48 42,47 50,48 72,62 66,86 40,99 12,94",
    ),
    Style(
        3,
        2,
        "8,12 46,0 78,14 66,38 50,46 66,54 84,74 62,96 32,100 4,90",
        "22,4 50,4 66,18 58,36 44,46 58,54 68,72 52,92 28,98 14,98",
    ),
    # 4: open with a corner; open and rounded; closed; in one stroke, the pen going back down its own line.
    Style(
        4,
        3,
        "18,6 14,30 10,54! 46,55 92,50 | 74,0 71,50 68,100",
        "32,4 24,26 14,46! 44,48 84,44 | 72,4 62,50 54,100",
    ),
    Style(
        4,
        3,
        "20,6 8,36 16,54 46,56 92,46 | 78,2 72,50 70,100",
        "34,2 20,32 24,48 46,50 82,42 | 70,10 62,50 54,98",
    ),
    Style(
        4,
        1.2,
        "66,0 40,32 10,66! 48,67 96,64 | 66,0 65,50 64,100",
        "64,6 44,30 20,58! 48,57 84,54 | 66,2 60,50 56,100",
    ),
    Style(
        4,
        2,
        "20,6 8,40 24,58 56,50 76,8! 72,54 68,100",
        "34,4 20,34 28,50 54,42 72,14! 62,54 52,100",
    ),
    # 5: body, then cap; in one stroke from the cap; a soft S.
    Style(
        5,
        4,
        "30,5 27,24 22,45! 52,38 80,58 74,84 42,100 8,90 | 30,5 58,5 90,3",
        "40,10 34,24 28,40! 50,40 66,58 60,82 38,98 14,94 | 40,10 64,6 92,0",
    ),
    Style(
        5,
        3,
        "90,4 62,4 32,6! 28,24 22,46! 56,40 82,62 68,92 36,100 6,88",
        "88,0 66,4 42,12! 38,24 32,40! 52,42 66,62 56,88 32,98 10,96",
    ),
    Style(
        5,
        1.5,
        "88,4 52,4 27,20 34,40 64,52 76,72 56,95 26,99 4,88",
        "90,0 62,6 44,22 44,38 58,50 62,70 46,90 24,97 8,98",
    ),
    # 6: a straight back; a hooked back; a small, flat bowl.
    Style(
        6,
        4,
        "62,0 34,22 15,56 18,86 44,100 74,88 78,64 52,54 28,64 17,82",
        "70,0 48,24 30,56 24,84 38,98 58,90 66,70 54,58 38,66 28,82",
    ),
    Style(
        6,
        3,
        "76,10 52,1 26,22 12,56 20,90 48,100 80,82 74,58 44,52 18,74",
        "72,4 54,6 36,28 26,58 26,86 42,98 62,84 62,64 46,60 28,80",
    ),
    Style(
        6,
        2,
        "48,0 24,28 12,62 22,92 52,100 84,88 82,70 58,62 32,72 20,88",
        "74,2 50,30 32,64 30,90 48,99 68,90 70,74 58,70 44,78 34,92",
    ),
    # 7: plain; with a serif; with a bar; rounded.
    Style(
        7,
        5,
        "8,9 45,6 86,4! 62,46 42,100",
        "14,16 44,12 76,4! 66,42 54,100",
    ),
    Style(
        7,
        1.6,
        "8,26 12,8! 48,8 88,3! 62,48 46,100",
        "18,18 20,8! 46,12 76,6! 64,48 52,100",
    ),
    Style(
        7,
        1.4,
        "8,8 45,7 86,4! 62,46 42,100 | 26,54 56,50 86,49",
        "16,14 46,12 78,6! 64,46 50,100 | 42,50 60,49 78,44",
    ),
    Style(
        7,
        2,
        "6,14 40,4 74,6 82,22 64,54 48,100",
        "18,12 42,10 66,6 74,16 64,52 56,100",
    ),
    # 8: one line crossing itself; two bowls; open at the top right.
    Style(
        8,
        4,
        "74,15 48,0 22,16 36,40 66,58 78,82 50,100 20,84 32,60 64,38 77,17 58,3",
        "70,10 54,2 38,16 44,38 58,56 60,80 44,98 28,84 38,60 60,38 72,18 62,5",
    ),
    Style(
        8,
        2,
        "48,47 24,34 28,8 54,0 78,16 70,40 48,48 22,62 20,88 50,100 80,86 76,60 50,46",
        "52,47 40,34 44,10 58,2 72,16 66,38 50,48 34,62 28,86 42,98 60,86 62,62 54,46",
    ),
    Style(
        8,
        3,
        "84,8 54,2 24,18 34,40 66,58 76,82 48,100 18,84 32,60 66,36 92,10",
        "74,6 56,4 40,18 44,38 58,56 62,80 42,98 26,84 38,62 62,36 82,2",
    ),
    # 9: a straight tail; a curved tail; a loop that runs into the tail.
    Style(
        9,
        4,
        "74,16 48,2 18,18 16,44 44,54 70,38 77,12! 74,54 70,100",
        "70,10 52,4 34,20 30,40 46,46 62,34 70,10! 62,54 52,100",
    ),
    Style(
        9,
        2.4,
        "78,16 50,0 20,18 20,46 48,54 74,36 80,14 78,54 66,88 42,100 16,92",
        "72,10 52,2 34,20 34,42 48,48 64,34 72,12 66,54 56,84 42,98 30,96",
    ),
    Style(
        9,
        3,
        "76,8 44,3 12,30 22,54 54,46 80,10 72,56 64,100",
        "70,6 50,6 30,28 34,44 52,40 72,12 62,56 46,100",
    ),
)


class Glyphs(NamedTuple):
    """The styles as arrays, padded to the same number of knots (K).

    Attributes:
        middle: (styles, K, 2), float32, each knot (x, y) halfway between the two extremes, in −1..1.
        spread: (styles, K, 2), float32, from the middle to the second extreme.
        basis: (styles, POINTS, K), float32; basis[s] @ knots are the points of the pen's way, evenly spaced.
        along: (styles, POINTS), float32, how far each point lies along its own stroke, 0..1.
        edges: (10, styles), float32, for each digit the cumulated shares of the styles, ending in 1.
    """

    middle: Floats
    spread: Floats
    basis: Floats
    along: Floats
    edges: Floats


@cache
def glyphs() -> Glyphs:
    """Compile the table of styles; done once, on first use."""
    parsed = [(_parse(style.path), _parse(style.other)) for style in STYLES]
    width = max(len(knots) for (knots, _), _ in parsed)
    middle = np.zeros((len(STYLES), width, 2), np.float32)
    spread = np.zeros_like(middle)
    basis = np.zeros((len(STYLES), POINTS, width), np.float32)
    along = np.zeros((len(STYLES), POINTS), np.float32)
    shares = np.zeros((10, len(STYLES)))
    for index, ((first, runs), (second, _)) in enumerate(parsed):
        used = len(first)
        middle[index, :used] = (first + second) / 2
        spread[index, :used] = (second - first) / 2
        basis[index, :, :used], along[index] = _pen_basis((first + second) / 2, runs)
        shares[STYLES[index].digit, index] = STYLES[index].share
    edges = np.cumsum(shares, axis=1)
    edges /= edges[:, -1:]  # by the last of the sums themselves, so that each row ends in exactly 1
    return Glyphs(middle, spread, basis, along, edges.astype(np.float32))


def _parse(path: str) -> tuple[Doubles, list[list[list[int]]]]:
    """Read a path: its knots (K, 2) in −1..1, and per stroke the smooth runs, each a list of knot numbers."""
    knots: list[tuple[float, float]] = []
    strokes: list[list[list[int]]] = []
    for stroke in path.split("|"):
        runs: list[list[int]] = [[]]
        for token in stroke.split():
            x, y = token.rstrip("!").split(",")
            runs[-1].append(len(knots))
            if token.endswith("!"):  # a corner ends one smooth run and starts the next
                runs.append([len(knots)])
            knots.append((float(x) / 50 - 1, float(y) / 50 - 1))
        strokes.append(runs)
    return np.array(knots), strokes


def _pen_basis(knots: Doubles, strokes: list[list[list[int]]]) -> tuple[Doubles, Doubles]:
    """Lay POINTS points evenly along a glyph: their spline basis (POINTS, K) and place along the stroke."""
    fine = 64  # steps per smooth run while its length is measured
    dense, owner = [], []
    for number, runs in enumerate(strokes):
        for run in runs:
            block = np.zeros((fine, len(knots)))
            block[:, run] = _spline_basis(knots[run], fine)
            dense.append(block)
            owner.append(number)
    # Length is summed piece by piece; a piece lies between two neighbours of one run, so pen lifts count nothing.
    starts = np.concatenate([block[:-1] for block in dense])
    ends = np.concatenate([block[1:] for block in dense])
    stroke_of = np.repeat(owner, fine - 1)
    lengths = np.hypot(*((ends - starts) @ knots).T)
    upto = np.cumsum(lengths)
    target = (np.arange(POINTS) + 0.5) / POINTS * upto[-1]
    piece = np.minimum(np.searchsorted(upto, target), len(upto) - 1)
    part = (target - (upto[piece] - lengths[piece])) / lengths[piece]
    basis = starts[piece] + part[:, None] * (ends[piece] - starts[piece])
    first = np.array([(upto - lengths)[stroke_of == number][0] for number in range(len(strokes))])
    total = np.array([lengths[stroke_of == number].sum() for number in range(len(strokes))])
    return basis, (target - first[stroke_of[piece]]) / total[stroke_of[piece]]


def _spline_basis(knots: Doubles, num: int) -> Doubles:
    """Natural cubic spline through `knots` (m, 2) at `num` even steps, as a matrix (num, m) to apply to knots.

    The curve is linear in its knots, so one matrix serves all jittered copies of the glyph. It is parametrised by
    the distance between knots, which keeps unevenly spaced ones from overshooting.
    """
    m = len(knots)
    gap = np.hypot(*np.diff(knots, axis=0).T)
    place = np.concatenate([[0.0], np.cumsum(gap)])
    # Second derivatives at the knots: continuity of the slope inside, zero at both ends.
    system, right = np.eye(m), np.zeros((m, m))
    for i in range(1, m - 1):
        system[i, i - 1 : i + 2] = gap[i - 1] / 6, (gap[i - 1] + gap[i]) / 3, gap[i] / 6
        right[i, i - 1 : i + 2] = 1 / gap[i - 1], -1 / gap[i - 1] - 1 / gap[i], 1 / gap[i]
    curvature = np.linalg.solve(system, right)
    at = np.linspace(0.0, place[-1], num)
    left = np.clip(np.searchsorted(place, at, side="right") - 1, 0, m - 2)
    b = ((at - place[left]) / gap[left])[:, None]
    a = 1 - b
    square = (gap[left] ** 2)[:, None] / 6
    eye = np.eye(m)
    bend = (a**3 - a) * curvature[left] + (b**3 - b) * curvature[left + 1]
    basis: Doubles = a * eye[left] + b * eye[left + 1] + square * bend
    return basis
