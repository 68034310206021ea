"""Charts of one trial as SVG, which a browser shows as images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

import numpy as np
from numpy.typing import NDArray

WIDTH: Final = 640
HEIGHT: Final = 360
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 34, 40
# Okabe and Ito's colours, which colour-blind readers tell apart.
COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
MOST_CLASSES: Final = 30
CELL: Final = 34


def curves(title: str, lines: Mapping[str, Sequence[tuple[float, float]]], *, up: str) -> str:
    """Lines of (x, y) by name; up: what the y axis says. What is not finite is left out."""
    finite = {
        name: [(x, y) for x, y in line if math.isfinite(x) and math.isfinite(y)]
        for name, line in lines.items()
    }
    points = [point for line in finite.values() for point in line]
    if not points:
        return _svg(WIDTH, 80, f'<text x="16" y="44">{escape(title)}: no epoch yet</text>')
    low_x, high_x = _span([x for x, _ in points])
    low_y, high_y = _span([y for _, y in points])

    def place(x: float, y: float) -> str:
        across = LEFT + (x - low_x) / (high_x - low_x) * (WIDTH - LEFT - RIGHT)
        above = HEIGHT - BOTTOM - (y - low_y) / (high_y - low_y) * (HEIGHT - TOP - BOTTOM)
        return f"{across:.1f},{above:.1f}"

    parts = [f'<text x="{LEFT}" y="20" font-weight="bold">{escape(title)}</text>']
    for i in range(5):
        value = low_y + (high_y - low_y) * i / 4
        y = HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * i / 4
        parts.append(
            f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>'
            f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.3g}</text>'
        )
    parts.append(
        f'<text x="{LEFT}" y="{HEIGHT - 12}">epoch {low_x:g}</text>'
        f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 12}" text-anchor="end">{high_x:g}</text>'
        f'<text x="{WIDTH - RIGHT}" y="20" text-anchor="end">{escape(up)}</text>'
    )
    for i, (name, line) in enumerate(finite.items()):
        colour = COLOURS[i % len(COLOURS)]
        path = " ".join(place(x, y) for x, y in line)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        if len(line) == 1:
            parts.append(
                f'<path d="M{path}h0" stroke="{colour}" stroke-width="6" stroke-linecap="round"/>'
            )
        across = LEFT + 90 + i % len(COLOURS) * 70
        parts.append(f'<text x="{across}" y="{HEIGHT - 12}" fill="{colour}">{escape(name)}</text>')
    return _svg(WIDTH, HEIGHT, "".join(parts))


def confusion(title: str, counts: NDArray[np.int64], classes: Sequence[str]) -> str:
    """counts: (classes, classes), [label, decision]; shades are of each label's share."""
    shown = min(len(classes), MOST_CLASSES)
    longest = max((len(name) for name in classes[:shown]), default=1)
    left, top = 30 + min(longest, 24) * 7, 60
    width, height = max(left + shown * CELL + 16, 320), top + shown * CELL + 40
    parts = [f'<text x="16" y="22" font-weight="bold">{escape(title)}</text>']
    whole = np.maximum(counts.sum(axis=1), 1)
    for row in range(shown):
        name = escape(_short(classes[row]))
        y = top + row * CELL
        parts.append(f'<text x="{left - 6}" y="{y + 21}" text-anchor="end">{name}</text>')
        parts.append(
            f'<text x="{left + row * CELL + CELL / 2:.0f}" y="{top - 8}" text-anchor="middle">'
            f"{escape(_short(classes[row], 4))}</text>"
        )
        for column in range(shown):
            share = float(counts[row, column]) / float(whole[row])
            x = left + column * CELL
            ink = "#fff" if share > 0.5 else "#000"
            parts.append(
                f'<rect x="{x}" y="{y}" width="{CELL - 1}" height="{CELL - 1}" '
                f'fill="#0072b2" fill-opacity="{0.04 + 0.96 * share:.3f}"/>'
                f'<text x="{x + CELL / 2:.0f}" y="{y + 21}" text-anchor="middle" fill="{ink}" '
                f'font-size="11">{int(counts[row, column])}</text>'
            )
    more = "" if shown == len(classes) else f"; the first {shown} of {len(classes)} classes"
    foot = f"rows: labels, columns: predictions out of fold{more}"
    parts.append(f'<text x="16" y="{height - 14}" fill="#555">{foot}</text>')
    return _svg(width, height, "".join(parts))


def _svg(width: float, height: float, inside: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width:g}" height="{height:g}" font-family="sans-serif" font-size="12">'
        f'<rect width="100%" height="100%" fill="#fff"/>{inside}</svg>'
    )


def _span(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low - 0.5, high + 0.5) if low == high else (low, high)


def _short(name: str, most: int = 24) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"
