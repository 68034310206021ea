"""Long CSV or Parquet: a row for each sequence and time step, labels in it or beside it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from muster.data.formats.tables import (
    header,
    read_table,
    require_columns,
    to_numbers,
    to_texts,
)
from muster.data.part import Part, Request, Texts, unlabelled
from muster.errors import UserError

log = logging.getLogger(__name__)
FIRST_LINE = 2


@dataclass(frozen=True)
class Columns:
    """What a request takes from which column: channels, texts a sequence, and the time, if any."""

    identifier: str
    channels: tuple[str, ...]
    texts: tuple[str, ...]
    time: tuple[str, ...]
    beside: tuple[str, ...]


def read(request: Request) -> Part:
    """The sequences in the order of their first row, each sorted by time.

    Group, static columns and labels may stand in the values (constant within a sequence) or in
    the labels file, where a sequence without a row is unlabelled.
    """
    beside = header(request.labels) if request.labels is not None else []
    columns = choose_columns(request, header(request.values), beside)
    frame = read_table(
        request.values,
        texts=[columns.identifier, *columns.texts],
        numbers=[*columns.time, *columns.channels],
    )
    return part_of(frame, request, columns)


def choose_columns(request: Request, names: list[str], beside: list[str]) -> Columns:
    """Which of the columns of these names, and of the labels file's, the request needs.

    Raises UserError naming all that are missing.
    """
    described = request.description.columns
    channels = _channels(request, names)
    _require_all(request, names, beside, channels)
    return Columns(
        identifier=str(described.identifier),
        channels=channels,
        texts=tuple(n for n in _texts(request) if n in names and n not in beside),
        time=(described.time,) if described.time is not None else (),
        beside=tuple(beside),
    )


def part_of(frame: pd.DataFrame, request: Request, columns: Columns) -> Part:
    """The sequences whose rows are all in the frame, which begins at its index's line."""
    path, described = request.values, request.description.columns
    first_line = FIRST_LINE + int(frame.index[0])
    frame = frame.reset_index(drop=True)
    codes, identifiers = _identifiers(frame, columns.identifier, path, first_line)
    order = _order(frame, codes, identifiers, request, first_line)
    values = to_numbers(frame[list(columns.channels)], path, first_line=first_line)[order]
    owners = identifiers[codes[order]]
    facts = {
        name: _constant(to_texts(frame[name])[order], owners, name, path) for name in columns.texts
    }
    if request.labels is not None:
        facts |= _facts(request, request.labels, list(columns.beside), identifiers)
    return Part(
        path=path,
        channels=columns.channels,
        values=values,
        lengths=np.bincount(codes, minlength=len(identifiers)).astype(np.int64),
        identifiers=tuple(map(str, identifiers)),
        labels=facts.get(described.label, unlabelled(len(identifiers))),
        groups=facts.get(described.group) if described.group is not None else None,
        static={name: facts[name] for name in described.static},
    )


def _texts(request: Request) -> list[str]:
    """The columns with one text a sequence that this request is after."""
    columns = request.description.columns
    if request.role == "input":
        return list(columns.static)
    return [*columns.static, columns.label, *([columns.group] if columns.group else [])]


def _channels(request: Request, names: list[str]) -> tuple[str, ...]:
    columns = request.description.columns
    roles = {columns.identifier, columns.time, columns.label, columns.group, *columns.static}
    known = {*roles, *columns.exclude}
    if request.channels is None:
        require_columns(request.values, names, columns.exclude)
        wanted = columns.channels or tuple(name for name in names if name not in roles)
        channels = tuple(name for name in wanted if name not in columns.exclude)
        if not channels:
            raise UserError(
                f"{request.values}: no channel is left; mend [columns] channels, exclude"
            )
        known |= set(wanted)
    else:
        channels = request.channels
    extra = [name for name in names if name not in known and name not in channels]
    if extra:
        log.info("%s: columns not asked for are ignored: %s", request.values, ", ".join(extra))
    return channels


def _require_all(
    request: Request, names: list[str], beside: list[str], channels: tuple[str, ...]
) -> None:
    columns = request.description.columns
    identifier = str(columns.identifier)
    if request.labels is not None:
        require_columns(request.labels, beside, [identifier, columns.label])
    facts = [*columns.static]
    if request.role == "train":
        facts += [columns.label, *([columns.group] if columns.group else [])]
    time = [columns.time] if columns.time is not None else []
    inside = [identifier, *time, *channels, *(name for name in facts if name not in beside)]
    require_columns(request.values, names, inside)


def _identifiers(
    frame: pd.DataFrame, name: str, path: Path, first_line: int
) -> tuple[NDArray[np.int64], Texts]:
    texts = to_texts(frame[name])
    empty = np.flatnonzero(texts == "")
    if empty.size:
        raise UserError(
            f"{path}: column {name}, line {empty[0] + first_line}: no identifier; every row must "
            "name its sequence"
        )
    codes, identifiers = pd.factorize(texts)
    return codes.astype(np.int64), np.asarray(identifiers, dtype=object)


def _order(
    frame: pd.DataFrame,
    codes: NDArray[np.int64],
    identifiers: Texts,
    request: Request,
    first_line: int,
) -> NDArray[np.intp]:
    """Rows by sequence, then by time; UserError where a time is missing or stands there twice."""
    column = request.description.columns.time
    if column is None:
        return np.asarray(np.argsort(codes, kind="stable"))
    time = _times(frame[column], request.values, first_line)
    order: NDArray[np.intp] = np.lexsort((time, codes))
    same = (np.diff(codes[order]) == 0) & (np.diff(time[order]) == 0)
    if same.any():
        first, second = sorted(order[np.flatnonzero(same)[0] :][:2])
        raise UserError(
            f"{request.values}: sequence {identifiers[codes[first]]} has {column} "
            f"{frame[column].iloc[first]} twice, in lines {first + first_line} and "
            f"{second + first_line}; strike one of them"
        )
    return order


def _times(
    column: pd.Series, path: Path, first_line: int
) -> NDArray[np.float64] | NDArray[np.int64]:
    """Numbers, or dates and times as nanoseconds."""
    times: NDArray[np.float64] | NDArray[np.int64]
    times = np.asarray(pd.to_numeric(column, errors="coerce"), dtype=np.float64)
    missing = np.isnan(times)
    if missing.all():
        dates = pd.to_datetime(column, errors="coerce", format="ISO8601", utc=True)
        times = dates.dt.tz_localize(None).to_numpy("datetime64[ns]").astype(np.int64)
        missing = dates.isna().to_numpy()
    bad = np.flatnonzero(missing)
    if bad.size:
        raise UserError(
            f"{path}: column {column.name}, line {bad[0] + first_line}: "
            f"{column.iloc[bad[0]]!r} is neither a number nor an ISO date; mend the time"
        )
    return times


def _constant(texts: Texts, owners: Texts, name: str, path: Path) -> Texts:
    """The sequences' one text each; UserError where it changes within a sequence.

    texts, owners: (rows,) the column and the identifier of each row, sequence by sequence.
    """
    is_first = np.append(True, owners[1:] != owners[:-1])
    changed = np.flatnonzero(~is_first & np.append(False, texts[1:] != texts[:-1]))
    if changed.size:
        row = changed[0]
        raise UserError(
            f"{path}: column {name} changes within sequence {owners[row]}, from "
            f"{texts[row - 1]!r} to {texts[row]!r}; a static, label or group column holds one "
            "value a sequence: mend it, or make it a channel"
        )
    return np.asarray(texts[is_first], dtype=object)


def _facts(
    request: Request, path: Path, beside: list[str], identifiers: Texts
) -> dict[str, Texts]:
    """What the labels file says of each sequence, "" where it says nothing."""
    name = str(request.description.columns.identifier)
    wanted = [text for text in _texts(request) if text in beside]
    frame = read_table(path, texts=[name, *wanted], numbers=[])
    keys = pd.Index(to_texts(frame[name]))
    twice = keys[keys.duplicated()]
    if len(twice):
        raise UserError(f"{path}: {name} {twice[0]} has two rows; keep one of them")
    positions = keys.get_indexer(pd.Index(identifiers))
    unknown = len(keys) - np.count_nonzero(positions >= 0)
    if unknown and request.description.unknown_labels == "refuse":
        absent = [str(key) for key in keys[~keys.isin(identifiers)][:3]]
        raise UserError(
            f"{path}: {unknown} of its sequences are not in {request.values.name}, such as "
            f'{", ".join(absent)}; mend the files, or say unknown_labels = "ignore"'
        )
    if unknown:
        log.info("%s: labels of %d sequences that are not there are ignored", path, unknown)
    return {text: np.append(to_texts(frame[text]), "")[positions] for text in wanted}
