"""Line charts as SVG: colours come from the page's style, so that one picture serves light, dark and paper."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

Points = Sequence[tuple[float, float]]

WIDTH, HEIGHT = 400, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 14, 16, 46
_MOST_POINTS = 400  # of a line; more than there are pixels to draw them
_TABLE_ROWS = 24


@dataclass(frozen=True)
class Series:
    """A line of a chart.

    Attributes:
        label: in the legend.
        points: (x, y) in the order of x, finite.
        colour: number of the style's colour, from 1.
        dashed: whether the line is broken, to be told apart on paper.
        dots: whether every point is marked.
    """

    label: str
    points: Points
    colour: int
    dashed: bool = False
    dots: bool = False


@dataclass(frozen=True)
class Chart:
    """A chart with its words.

    Attributes:
        title: above it.
        x_label: with its unit.
        y_label: with its unit.
        series: the lines; those without points are left out.
        y_range: lowest and highest y to show; None for all of it.
        x_log: whether x is logarithmic.
        level: a y to mark by a faint line, and its name.
        best: a point to mark, and its name.
    """

    title: str
    x_label: str
    y_label: str
    series: Sequence[Series]
    y_range: tuple[float, float] | None = None
    x_log: bool = False
    level: tuple[float, str] | None = None
    best: tuple[float, float, str] | None = None


def render_chart(chart: Chart) -> str:
    """Return a figure element: heading, legend, SVG, and the numbers as a table to unfold; empty without points."""
    series = [one for one in chart.series if one.points]
    if not series:
        return ""
    scale = _Scale(chart, series)
    parts = [
        *_axes(chart, scale),
        *(_line(one, scale) for one in series),
        _best(chart, scale),
        f'<line class="cursor" y1="{_TOP}" y2="{HEIGHT - _BOTTOM}" x1="0" x2="0" visibility="hidden"/>',
    ]
    description = _describe(chart, series)
    data = [
        {"label": one.label, "points": [[scale.x(x), x, y] for x, y in _thin(one.points, _MOST_POINTS)]}
        for one in series
    ]
    return (
        f'<figure class="chart"><figcaption>{escape(chart.title)}</figcaption>{_legend(chart, series)}'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" tabindex="0" aria-label="{escape(description)}" '
        f'data-series="{escape(json.dumps(data), quote=True)}" data-x="{escape(chart.x_label)}">{"".join(parts)}</svg>'
        f'<p class="readout" aria-live="polite">&nbsp;</p>{_numbers(chart, series)}</figure>'
    )


class _Scale:
    """From values to places in the drawing."""

    def __init__(self, chart: Chart, series: Sequence[Series]) -> None:
        xs = [x for one in series for x, _ in one.points]
        ys = [y for one in series for _, y in one.points]
        self.log = chart.x_log
        self.x_low, self.x_high = _widened(
            *((math.log10(min(xs)), math.log10(max(xs))) if self.log else (min(xs), max(xs)))
        )
        low, high = chart.y_range or (min(ys), max(ys))
        if chart.level is not None and chart.y_range is None:
            low, high = min(low, chart.level[0]), max(high, chart.level[0])
        self.y_ticks = nice_ticks(*_widened(low, high))
        self.y_low, self.y_high = min(low, self.y_ticks[0]), max(high, self.y_ticks[-1])

    def x(self, value: float) -> float:
        at = math.log10(value) if self.log else value
        return round(_LEFT + (at - self.x_low) / (self.x_high - self.x_low) * (WIDTH - _LEFT - _RIGHT), 1)

    def y(self, value: float) -> float:
        share = (value - self.y_low) / (self.y_high - self.y_low)
        return round(HEIGHT - _BOTTOM - share * (HEIGHT - _TOP - _BOTTOM), 1)

    def x_ticks(self) -> list[float]:
        """Return round values of x."""
        if not self.log:
            return [tick for tick in nice_ticks(self.x_low, self.x_high) if self.x_low <= tick <= self.x_high]
        powers = range(math.floor(self.x_low), math.ceil(self.x_high) + 1)
        digits = (1, 2, 5) if self.x_high - self.x_low < 2 else (1,)
        ticks = [digit * 10.0**power for power in powers for digit in digits]
        slack = 1e-9
        return [tick for tick in ticks if self.x_low - slack <= math.log10(tick) <= self.x_high + slack]


def nice_ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Return about `wanted` round values, 1, 2 or 5 times a power of ten apart, that span low to high."""
    rough = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def tick_labels(ticks: Sequence[float]) -> list[str]:
    """Return ticks at equal steps as text, with as many decimals as the step has, so that no two look alike."""
    step = min((abs(b - a) for a, b in itertools.pairwise(ticks)), default=1.0)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    return [
        number(tick) if tick == 0 or abs(tick) >= 1e6 else f"{tick:,.{decimals}f}".replace("-", "−") for tick in ticks
    ]


def number(value: float) -> str:
    """Return a value as people write it: few digits, thousands apart, a true minus."""
    if value == 0:
        return "0"
    if abs(value) >= 1e6:
        text = f"{value / 1e6:g}M"
    elif abs(value) >= 1000:
        text = f"{value:,.0f}"
    else:
        text = f"{value:.4g}"
    return text.replace("-", "−")


def _axes(chart: Chart, scale: _Scale) -> list[str]:
    bottom, right = HEIGHT - _BOTTOM, WIDTH - _RIGHT
    parts = []
    for tick, text in zip(scale.y_ticks, tick_labels(scale.y_ticks), strict=True):
        y = scale.y(tick)
        parts.append(f'<line class="rule" x1="{_LEFT}" x2="{right}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text class="tick" x="{_LEFT - 8}" y="{y + 4}" text-anchor="end">{text}</text>')
    x_ticks = scale.x_ticks()
    for tick, text in zip(x_ticks, map(number, x_ticks) if scale.log else tick_labels(x_ticks), strict=True):
        x = scale.x(tick)
        parts.append(f'<line class="axis" x1="{x}" x2="{x}" y1="{bottom}" y2="{bottom + 4}"/>')
        parts.append(f'<text class="tick" x="{x}" y="{bottom + 18}" text-anchor="middle">{text}</text>')
    parts.append(f'<line class="axis" x1="{_LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}"/>')
    middle = (_LEFT + right) / 2
    parts.append(
        f'<text class="label" x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">{escape(chart.x_label)}</text>'
    )
    if chart.level is not None:
        y = scale.y(chart.level[0])
        parts.append(f'<line class="level" x1="{_LEFT}" x2="{right}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text class="note" x="{right}" y="{y - 5}" text-anchor="end">{escape(chart.level[1])}</text>')
    return parts


def _line(one: Series, scale: _Scale) -> str:
    """Draw a line; where it leaves the shown range at the bottom it runs along the edge."""
    points = [(scale.x(x), scale.y(min(max(y, scale.y_low), scale.y_high))) for x, y in _thin(one.points, _MOST_POINTS)]
    dashed = " dashed" if one.dashed else ""
    path = " ".join(f"{x},{y}" for x, y in points)
    line = f'<polyline class="line c{one.colour}{dashed}" points="{path}"/>'
    if one.dots or len(points) == 1:
        line += "".join(f'<circle class="dot c{one.colour}" cx="{x}" cy="{y}" r="3"/>' for x, y in points)
    return line


def _best(chart: Chart, scale: _Scale) -> str:
    if chart.best is None:
        return ""
    x, y, name = chart.best
    left, top = scale.x(x), scale.y(y)
    anchor = "start" if left < WIDTH * 0.3 else "end" if left > WIDTH * 0.7 else "middle"
    above = top - 10 if top - 10 > _TOP + 4 else top + 22
    return (
        f'<circle class="best" cx="{left}" cy="{top}" r="4.5"/>'
        f'<text class="value" x="{left}" y="{above}" text-anchor="{anchor}">{escape(name)}</text>'
    )


def _legend(chart: Chart, series: Sequence[Series]) -> str:
    keys = "".join(
        f'<li><svg class="key" viewBox="0 0 24 8" aria-hidden="true"><line class="line c{one.colour}'
        f'{" dashed" if one.dashed else ""}" x1="0" x2="24" y1="4" y2="4"/></svg>{escape(one.label)}</li>'
        for one in series
    )
    return f'<p class="unit">{escape(chart.y_label)}</p><ul class="legend">{keys}</ul>'


def _numbers(chart: Chart, series: Sequence[Series]) -> str:
    """Return the values behind the lines, thinned, for those who cannot or will not read a drawing."""
    heads = "".join(f'<th scope="col">{escape(head)}</th>' for head in (chart.x_label, *(one.label for one in series)))
    lookup: list[Callable[[float], float | None]] = [dict(one.points).get for one in series]
    xs = sorted({x for one in series for x, _ in one.points})
    rows = "".join(
        "<tr>"
        + "".join(f"<td>{'' if value is None else number(value)}</td>" for value in (x, *(get(x) for get in lookup)))
        + "</tr>"
        for x, _ in _thin([(x, 0.0) for x in xs], _TABLE_ROWS)
    )
    return (
        f'<details class="numbers"><summary>Numbers</summary><div class="scroll"><table><thead><tr>{heads}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div></details>"
    )


def _describe(chart: Chart, series: Sequence[Series]) -> str:
    """Return what the chart shows, for those who cannot see it."""
    lines = "; ".join(
        f"{one.label} from {number(one.points[0][1])} to {number(one.points[-1][1])}, "
        f"highest {number(max(y for _, y in one.points))}"
        for one in series
    )
    return f"{chart.title}, {chart.y_label} over {chart.x_label}: {lines}. Arrow keys read off values."


def _thin(points: Points, most: int) -> list[tuple[float, float]]:
    """Return at most `most` of the points, evenly chosen, the first and the last among them."""
    if len(points) <= most:
        return list(points)
    return [points[round(i * (len(points) - 1) / (most - 1))] for i in range(most)]


def _widened(low: float, high: float) -> tuple[float, float]:
    """Return a range that is not empty."""
    margin = max(0.5, 0.01 * abs(high)) if high - low < 1e-12 * max(1.0, abs(high)) else 0.0
    return low - margin, high + margin
