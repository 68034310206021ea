"""Line charts as SVG by hand: no plotting library writes one without a browser."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

Points = Sequence[tuple[float, float]]
WIDTH: Final = 460
HEIGHT: Final = 300
LEFT, RIGHT, TOP, BOTTOM = 56, 84, 34, 44
COLOURS: Final = ("#3b6fd4", "#c8553d", "#2f8f5b", "#9857c0", "#b5851d", "#4a9aa8", "#7a7a7a")
STYLE: Final = """
text { font: 11px system-ui, sans-serif; fill: #333 }
.title { font-size: 13px; font-weight: 600 }
.grid { stroke: #8884; stroke-width: 1 }
path { fill: none; stroke-width: 1.8 }
@media (prefers-color-scheme: dark) { text { fill: #ccc } }
"""


@dataclass(frozen=True)
class Panel:
    """One chart. lines: name to points by x; both axes begin at 0, or y is logarithmic."""

    title: str
    x_label: str
    y_label: str
    lines: Mapping[str, Points]
    is_log: bool = False


def draw(panels: Sequence[Panel], *, columns: int = 2) -> str:
    """The panels beside and below each other, readable on light and dark pages."""
    rows = math.ceil(len(panels) / columns)
    parts = [
        f'<g transform="translate({WIDTH * (place % columns)} {HEIGHT * (place // columns)})">'
        f"{_panel(panel)}</g>"
        for place, panel in enumerate(panels)
    ]
    size = f"{WIDTH * columns} {HEIGHT * rows}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" role="img">'
        f"<style>{STYLE}</style>{''.join(parts)}</svg>\n"
    )


def _panel(panel: Panel) -> str:
    points = [point for line in panel.lines.values() for point in line]
    x_top = _ceiling(max(x for x, _ in points))
    ys = [y for _, y in points if y > 0]
    low = 10 ** math.floor(math.log10(min(ys))) if panel.is_log else 0.0
    high = 10 ** math.ceil(math.log10(max(ys))) if panel.is_log else _ceiling(max(ys))

    def across(x: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * x / x_top

    def up(y: float) -> float:
        share = math.log(max(y, low) / low, high / low) if panel.is_log else y / high
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share

    ticks = _powers(low, high) if panel.is_log else [high * step / 4 for step in range(5)]
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = [_text(LEFT, 18, panel.title, kind="title")]
    for y in ticks:
        parts.append(f'<path class="grid" d="M{LEFT} {up(y):.1f}H{right}"/>')
        parts.append(_text(LEFT - 6, up(y) + 4, f"{y:g}", anchor="end"))
    for x in (x_top * step / 4 for step in range(5)):
        parts.append(_text(across(x), bottom + 16, f"{x:,g}", anchor="middle"))
    parts.append(_text((LEFT + right) / 2, bottom + 34, panel.x_label, anchor="middle"))
    parts.append(_text(LEFT - 6, 18, panel.y_label, anchor="end"))
    labels = _apart({name: up(line[-1][1]) for name, line in panel.lines.items() if line})
    for (name, line), colour in zip(panel.lines.items(), COLOURS, strict=False):
        if line:
            path = "L".join(f"{across(x):.1f} {up(y):.1f}" for x, y in line)
            parts.append(f'<path stroke="{colour}" d="M{path}"/>')
            parts.append(_text(right + 6, labels[name] + 4, name, colour=colour))
    return "".join(parts)


def _apart(heights: Mapping[str, float], *, least: float = 12.0) -> dict[str, float]:
    """The heights of labels, moved so that none covers another."""
    found: dict[str, float] = {}
    last = -least
    for name, height in sorted(heights.items(), key=lambda each: each[1]):
        found[name] = last = max(height, last + least)
    return found


def _ceiling(value: float) -> float:
    """The next number of the kind 1, 2, 2.5, 4, 5, 8 times a power of ten, for quarters of it."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(each * power for each in (1, 2, 2.5, 4, 5, 8, 10) if each * power >= value)


def _powers(low: float, high: float) -> list[float]:
    first, last = round(math.log10(low)), round(math.log10(high))
    return [10.0**power for power in range(first, last + 1)]


def _text(
    x: float, y: float, text: str, *, anchor: str = "start", kind: str = "", colour: str = ""
) -> str:
    style = f' style="fill:{colour}"' if colour else ""
    name = f' class="{kind}"' if kind else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{name}{style}>{escape(text)}</text>'
    )
