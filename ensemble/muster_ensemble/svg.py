"""Line charts as SVG that a page colours by its style sheet, without any script."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from markupsafe import Markup, escape

WIDTH, HEIGHT = 460.0, 270.0
LEFT, RIGHT, TOP, BOTTOM = 52.0, 10.0, 10.0, 42.0
TICKS = 5
COLOURS = 8
# Numbers of points up to which each says its value under the pointer.
MOST_TOLD = 400

Point = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """Points by x, both finite or left out as gaps. colour: a series of the style sheet."""

    points: Sequence[Point]
    colour: int
    name: str = ""
    kind: Literal["thick", "thin", "steps", "dots"] = "thick"


@dataclass(frozen=True)
class _Scale:
    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def chart(lines: Sequence[Line], *, x: str, y: str) -> Markup:
    """The lines over each other with axes of these names; empty where no point is finite."""
    points = [point for line in lines for point in line.points if all(map(math.isfinite, point))]
    if not points:
        return Markup("")
    x_ticks = ticks(min(p[0] for p in points), max(p[0] for p in points), whole=True)
    y_ticks = ticks(min(p[1] for p in points), max(p[1] for p in points))
    across = _Scale(x_ticks[0], x_ticks[-1], LEFT, WIDTH - RIGHT)
    up = _Scale(y_ticks[0], y_ticks[-1], HEIGHT - BOTTOM, TOP)
    parts = [
        f'<svg class="lines" viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" role="img" '
        f'aria-label="{escape(y)} by {escape(x)}">'
    ]
    parts += _across(across, x_ticks, x)
    parts += _up(up, y_ticks, y)
    for line in sorted(lines, key=lambda line: line.kind != "thin"):
        parts += _draw(line, across, up)
    return Markup("".join([*parts, "</svg>"]))


def ticks(low: float, high: float, *, whole: bool = False) -> list[float]:
    """About five round numbers at even distances, from at most low to at least high."""
    if high - low < 1e-9 * max(1.0, abs(high)):
        low, high = (low, low + 1) if whole else (low - 0.05, high + 0.05)
    rough = (high - low) / TICKS
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * size for factor in (1, 2, 2.5, 5, 10) if factor * size >= rough)
    step = max(1.0, math.ceil(step)) if whole else step
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def _across(scale: _Scale, values: Sequence[float], name: str) -> Iterator[str]:
    for value in values:
        yield (
            f'<text x="{scale(value):.1f}" y="{HEIGHT - BOTTOM + 17:.0f}" text-anchor="middle">'
            f"{value:g}</text>"
        )
    middle = (LEFT + WIDTH - RIGHT) / 2
    yield (
        f'<text x="{middle:.0f}" y="{HEIGHT - 5:.0f}" text-anchor="middle">{escape(name)}</text>'
    )


def _up(scale: _Scale, values: Sequence[float], name: str) -> Iterator[str]:
    for value in values:
        at = scale(value)
        yield f'<path class="grid" d="M{LEFT:.0f} {at:.1f}H{WIDTH - RIGHT:.0f}"/>'
        yield f'<text x="{LEFT - 6:.0f}" y="{at + 4:.1f}" text-anchor="end">{value:g}</text>'
    middle = (TOP + HEIGHT - BOTTOM) / 2
    yield (
        f'<text transform="translate(13 {middle:.0f}) rotate(-90)" text-anchor="middle">'
        f"{escape(name)}</text>"
    )


def _draw(line: Line, across: _Scale, up: _Scale) -> Iterator[str]:
    colour = f"c{line.colour % COLOURS}"
    title = f"<title>{escape(line.name)}</title>" if line.name else ""
    if line.kind == "dots" and len(line.points) <= MOST_TOLD:
        for x, y in line.points:
            if math.isfinite(y):
                yield (
                    f'<circle class="{colour}" cx="{across(x):.1f}" cy="{up(y):.1f}" r="3.5">'
                    f"<title>{escape(line.name)} {x:g}: {y:.4f}</title></circle>"
                )
        return
    steps = [
        _path([(across(x), up(y)) for x, y in part], line.kind)
        for is_there, part in groupby(line.points, key=lambda p: math.isfinite(p[1]))
        if is_there
    ]
    if steps:
        yield f'<path class="{line.kind} {colour}" d="{"".join(steps)}">{title}</path>'


def _path(points: Sequence[Point], kind: str) -> str:
    """A point alone is a line of no length, which round ends make a dot."""
    (x, y), *rest = points
    parts = [f"M{x:.1f} {y:.1f}" + ("" if rest else "h0")]
    for next_x, next_y in rest:
        if kind == "dots":
            parts.append(f"M{next_x:.1f} {next_y:.1f}h0")
        elif kind == "steps":
            parts.append(f"H{next_x:.1f}V{next_y:.1f}")
        else:
            parts.append(f"L{next_x:.1f} {next_y:.1f}")
    if kind == "dots" and rest:
        parts[0] += "h0"
    return "".join(parts)
