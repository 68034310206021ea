"""New data read in pieces, so that it may be larger than memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from muster.data.assemble import assemble_input
from muster.data.dataset import Dataset
from muster.data.description import parse_description
from muster.data.formats import long_csv, npz, ts, wide_csv
from muster.data.formats.tables import header, stream_headless, stream_table, to_texts
from muster.data.part import Part, Request
from muster.data.readers import input_request
from muster.data.schema import Schema
from muster.errors import UserError

# 16 MiB of 32-bit numbers; reading a text file takes several times as much.
NUMBERS = 2**22


class Scattered(UserError):
    """A sequence's rows are apart in the file, so that it can only be read whole."""


def stream_input(schema: Schema, path: Path, *, numbers: int = NUMBERS) -> Iterator[Dataset]:
    """What read_input gives, in pieces of about so many numbers; never less than a sequence.

    Only the identifiers of all sequences stay in memory. `.ts` files come in one piece. Raises
    UserError as read_input does, and Scattered where the rows of a long file's sequence do not
    follow one another.
    """
    description = parse_description(schema.description, where="the dataset's schema")
    request = input_request(schema, path)
    pieces = STREAMS[description.format or "ts"](request, numbers)
    for part in _once(pieces, is_named=description.columns.identifier is not None):
        yield assemble_input(description, schema, part)


def _once(parts: Iterable[Part], *, is_named: bool) -> Iterator[Part]:
    """The parts; UserError where an identifier names sequences of two of them."""
    seen: set[str] = set()
    for part in parts:
        if is_named:
            twice = seen.intersection(part.identifiers)
            if twice:
                raise Scattered(
                    f"{part.path}: identifier {min(twice)} names two sequences, or rows that are "
                    "apart; rename one, or sort the file by sequence"
                )
            seen.update(part.identifiers)
        yield part


def _long_csv(request: Request, numbers: int) -> Iterator[Part]:
    columns = long_csv.choose_columns(request, header(request.values), [])
    texts, values = [columns.identifier, *columns.texts], [*columns.time, *columns.channels]
    rows = max(1, numbers // (len(texts) + len(values)))
    held: list[pd.DataFrame] = []
    for frame in stream_table(request.values, texts=texts, numbers=values, rows=rows):
        names = to_texts(frame[columns.identifier])
        # The last sequence may go on in the next piece.
        others = np.flatnonzero(names != names[-1])
        end = int(others[-1]) + 1 if len(others) else 0
        is_continued = bool(held) and _last_name(held[-1], columns.identifier) == names[0]
        if held and (end or not is_continued):
            yield long_csv.part_of(pd.concat([*held, frame.iloc[:end]]), request, columns)
            held = []
        elif end:
            yield long_csv.part_of(frame.iloc[:end], request, columns)
        held.append(frame.iloc[end:])
    yield long_csv.part_of(pd.concat(held), request, columns)


def _last_name(frame: pd.DataFrame, column: str) -> str:
    return str(to_texts(frame[column].iloc[-1:])[0])


def _wide_csv(request: Request, numbers: int) -> Iterator[Part]:
    layout = wide_csv.look(request)
    rows = max(1, numbers // len(layout.row))
    for frame in stream_headless(request.values, text=layout.text, rows=rows):
        yield wide_csv.part_of(frame, request, layout)


def _npz(request: Request, numbers: int) -> Iterator[Part]:
    yield from npz.stream(request, numbers=numbers)


def _whole(request: Request, numbers: int) -> Iterator[Part]:
    yield ts.read(request)


STREAMS: dict[str, Callable[[Request, int], Iterator[Part]]] = {
    "long_csv": _long_csv,
    "wide_csv": _wide_csv,
    "npz": _npz,
    "ts": _whole,
}
