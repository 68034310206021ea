"""One file's sequences, as a reader hands them on: names and texts not yet made numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from muster.data.description import Description

Texts = NDArray[np.object_]


@dataclass(frozen=True)
class Request:
    """What a reader is asked for.

    channels: those wanted, in order; None takes what the file and its description offer.
    role: "train" must hold labels, "test" may, of "input" they are not read.
    """

    values: Path
    labels: Path | None
    description: Description
    channels: tuple[str, ...] | None
    role: Literal["train", "test", "input"]


@dataclass(frozen=True)
class Part:
    """Sequences laid end to end.

    values: (steps, channels) float32, NaN where missing. lengths: (sequences,) steps of each.
    labels: (sequences,) texts, "" where there is none; groups alike, or None.
    static: column name to (sequences,) texts, "" where missing.
    steps: of a wide_csv row, else None.
    """

    path: Path
    channels: tuple[str, ...]
    values: NDArray[np.float32]
    lengths: NDArray[np.int64]
    identifiers: tuple[str, ...]
    labels: Texts
    groups: Texts | None = None
    static: dict[str, Texts] = field(default_factory=dict)
    steps: int | None = None


Reader = Callable[[Request], Part]


def unlabelled(sequences: int) -> Texts:
    """Labels of a part that has none."""
    return np.full(sequences, "", dtype=object)


def numbered(sequences: int, first: int = 0) -> tuple[str, ...]:
    """Identifiers of a format that has none: the position in the file, from 0."""
    return tuple(map(str, range(first, first + sequences)))


def as_texts(values: NDArray[np.generic]) -> Texts:
    """Labels and the like as text; of whole numbers that a file holds as floats, no fraction."""
    if np.issubdtype(values.dtype, np.floating):
        whole = np.isfinite(values) & (np.mod(values, 1) == 0)
        texts = [
            "" if np.isnan(value) else str(int(value)) if is_whole else str(value)
            for value, is_whole in zip(values.tolist(), whole.tolist(), strict=True)
        ]
        return np.array(texts, dtype=object)
    return np.array([str(value).strip() for value in values.tolist()], dtype=object)
