"""Unknown names and the known one that was probably meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def known_names(name: str, known: Iterable[str]) -> str:
    """What a message says after an unknown name: the nearest known one, if any, and all."""
    names = list(known)
    listed = f"known are {', '.join(names) or 'none'}"
    near = get_close_matches(name, names, n=1)
    return f"did you mean {near[0]}? {listed}" if near else listed
