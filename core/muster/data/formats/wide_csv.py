"""Wide CSV: a row for each sequence, no header, the values channel by channel, the label last."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from muster.data.formats.tables import (
    MISSING,
    first_row,
    read_headless,
    to_numbers,
    to_texts,
)
from muster.data.part import Part, Request, Texts, as_texts, numbered, unlabelled
from muster.errors import UserError

DEFAULT_CHANNELS = ("value",)
# Shorter counts are data as likely as not.
FEWEST_COUNTED = 3
FEWEST_ROWS = 10
MEND = (
    "a wide_csv file holds values and labels alone: strike it (pandas: to_csv(..., header=False, "
    "index=False))"
)


@dataclass(frozen=True)
class Layout:
    """What the first line tells: itself, channels and steps, whether a label ends it."""

    row: list[str]
    channels: tuple[str, ...]
    steps: int
    is_labelled: bool

    @property
    def text(self) -> int | None:
        """The column that holds text."""
        return len(self.row) - 1 if self.is_labelled else None


def read(request: Request) -> Part:
    """The rows in order; a test or input file may lack the label column.

    Training rows end with their label; of later files, the description's steps say whether the
    last column is one.
    """
    layout = look(request)
    return part_of(read_headless(request.values, text=layout.text), request, layout)


def look(request: Request) -> Layout:
    """The layout of the file; UserError where it is none that was asked for."""
    channels = request.description.columns.channels or DEFAULT_CHANNELS
    row = first_row(request.values)
    _refuse_names(row, request.values)
    steps, is_labelled = _shape(request, len(row), len(channels))
    return Layout(row, channels, steps, is_labelled)


def part_of(frame: pd.DataFrame, request: Request, layout: Layout) -> Part:
    """The frame's rows, which begin at its index's row of the file."""
    path, steps, channels = request.values, layout.steps, layout.channels
    first = int(frame.index[0])
    frame = frame.reset_index(drop=True)
    if first == 0:
        _refuse_counts(layout.row, frame, path, is_labelled=layout.is_labelled)
    cells = to_numbers(frame.iloc[:, : steps * len(channels)], path, first_line=first + 1)
    values = cells.reshape(len(frame), len(channels), steps)
    keep = [channels.index(name) for name in request.channels or _kept(request, channels)]
    labels = unlabelled(len(frame))
    if layout.is_labelled and request.role != "input":
        labels = _labels(to_texts(frame[len(layout.row) - 1]), path)
    return Part(
        path=path,
        channels=tuple(channels[position] for position in keep),
        values=np.ascontiguousarray(values[:, keep].transpose(0, 2, 1)).reshape(-1, len(keep)),
        lengths=np.full(len(frame), steps, dtype=np.int64),
        identifiers=numbered(len(frame), first),
        labels=labels,
        steps=steps,
    )


def _refuse_names(row: list[str], path: Path) -> None:
    """UserError where the first line holds names, which are texts in most of its cells."""
    texts = [cell for cell in row[:-1] if cell not in MISSING and not _is_number(cell)]
    if 2 * len(texts) > len(row) - 1:
        raise UserError(
            f"{path}: line 1 looks like a header ({', '.join(texts[:3])}, ...); {MEND}"
        )


def _refuse_counts(row: list[str], frame: pd.DataFrame, path: Path, *, is_labelled: bool) -> None:
    """UserError where the first line counts the columns, or the first column the rows.

    pandas writes such lines and columns of its own accord. Whole numbers as texts are what tells
    them from data, so data of that shape can still be written: as 0.0, 1.0 and so on.
    """
    count = [cell for cell in (row[:-1] if is_labelled else row) if cell]
    if len(count) >= FEWEST_COUNTED and count == list(map(str, range(len(count)))):
        labels = frame[len(row) - 1]
        if not is_labelled or row[-1] == str(len(count)) or row[-1] not in set(labels[1:]):
            raise UserError(f"{path}: line 1 looks like a header (0, 1, 2, ...); {MEND}")
    first = frame[0]
    if (
        len(frame) >= FEWEST_ROWS
        and pd.api.types.is_integer_dtype(first)
        and bool((first == np.arange(len(frame))).all())
    ):
        raise UserError(
            f"{path}: the first column looks like an index (0, 1, 2, ... down the rows); {MEND}"
        )


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _kept(request: Request, channels: tuple[str, ...]) -> list[str]:
    return [name for name in channels if name not in request.description.columns.exclude]


def _shape(request: Request, width: int, channels: int) -> tuple[int, bool]:
    """Steps of a sequence, and whether the rows end with a label."""
    steps = request.description.steps
    if request.role == "train":
        found, rest = divmod(width - 1, channels)
        if rest or not found or (steps is not None and found != steps):
            expected = f" of {steps} steps" if steps is not None else ""
            raise UserError(
                f"{request.values}: {width} columns are not {channels} channels{expected} and a "
                "label; mend [columns] channels, steps or the file"
            )
        return found, True
    if steps is None or width not in {steps * channels, steps * channels + 1}:
        raise UserError(
            f"{request.values}: has {width} columns where the training data has {channels} "
            f"channel(s) of {steps} steps, with or without a label; mend the file"
        )
    return steps, width == steps * channels + 1


def _labels(texts: Texts, path: Path) -> Texts:
    """Class numbers as written by other tools: "0.000e+00" is class "0"."""
    without = np.flatnonzero(texts == "")
    if without.size:
        raise UserError(
            f"{path}: line {without[0] + 1} has no label, or fewer values than the first line; "
            "mend or strike the row"
        )
    try:
        return as_texts(texts.astype(np.float64))
    except ValueError:
        return texts
