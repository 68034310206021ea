"""Spans of time as options take them: 90s, 45m, 8h, 7d."""

from __future__ import annotations

import re
from typing import Final

from muster.errors import UserError

UNIT_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def seconds_of(text: str, *, option: str) -> float:
    """How long that is. Raises UserError, which names the option."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd])", text.strip())
    if match is None:
        raise UserError(f"{option} {text!r}: write a number and a unit, as in 90s or 8h")
    return float(match[1]) * UNIT_SECONDS[match[2]]


def in_words(seconds: float) -> str:
    """Seconds as seconds_of takes them."""
    whole = [unit for unit, size in UNIT_SECONDS.items() if seconds % size == 0]
    unit = whole[-1] if whole else "s"
    return f"{seconds / UNIT_SECONDS[unit]:g}{unit}"
