"""CSV and Parquet files as tables, with every way they can be broken put into words."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from muster.data.part import Texts
from muster.errors import UserError

T = TypeVar("T")
MISSING = ["", "NA", "N/A", "NaN", "nan", "NAN", "null", "NULL", "None", "?"]


def require_file(path: Path) -> None:
    """UserError unless path is a file with something in it."""
    if not path.is_file():
        what = "a folder, not a file" if path.is_dir() else "no such file"
        raise UserError(f"{path}: {what}; mend the path")
    if path.stat().st_size == 0:
        raise UserError(f"{path}: the file is empty; fetch or export it again")


def header(path: Path) -> list[str]:
    """The column names of a CSV or Parquet file, in order."""
    if is_parquet(path):
        require_file(path)
        return _guarded(path, lambda: _parquet_header(path))
    names = first_row(path)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f"{path}: columns named twice: {', '.join(twice)}; rename one of each")
    return names


def require_columns(path: Path, present: Collection[str], wanted: Collection[str]) -> None:
    """UserError naming every wanted column that is not present."""
    absent = [name for name in wanted if name not in present]
    if absent:
        raise UserError(
            f"{path}: missing column{'s' if len(absent) > 1 else ''} {', '.join(absent)}; "
            f"the file has {_shortened(list(present))}: mend [columns] or the file"
        )


def read_table(path: Path, *, texts: Collection[str], numbers: Collection[str]) -> pd.DataFrame:
    """The named columns; texts stay as written ("000", "NA"), numbers may be missing."""
    wanted = [*texts, *numbers]
    if is_parquet(path):
        return _guarded(path, lambda: pd.read_parquet(path, columns=wanted))
    options = _table_options(texts, numbers)
    frame: pd.DataFrame = _guarded(path, lambda: pd.read_csv(path, **options))
    return _checked_table(frame, path)[wanted]


def stream_table(
    path: Path, *, texts: Collection[str], numbers: Collection[str], rows: int
) -> Iterator[pd.DataFrame]:
    """The table of read_table in pieces of so many rows, whose index goes on from 0."""
    wanted = [*texts, *numbers]
    if is_parquet(path):
        yield from _pieces(path, lambda: _parquet_pieces(path, wanted, rows))
        return
    options = _table_options(texts, numbers)
    for frame in _pieces(path, lambda: pd.read_csv(path, chunksize=rows, **options)):
        yield _checked_table(frame, path)[wanted]


def read_headless(path: Path, *, text: int | None) -> pd.DataFrame:
    """A CSV file without a header, its columns numbered from 0; text: the one that holds text."""
    options = _headless_options(path, text)
    frame: pd.DataFrame = _guarded(path, lambda: pd.read_csv(path, **options))
    return frame


def stream_headless(path: Path, *, text: int | None, rows: int) -> Iterator[pd.DataFrame]:
    """The table of read_headless in pieces of so many rows, whose index goes on from 0."""
    options = _headless_options(path, text)
    yield from _pieces(path, lambda: pd.read_csv(path, chunksize=rows, **options))


def first_row(path: Path) -> list[str]:
    """The first line's values as text."""
    require_file(path)
    first: pd.DataFrame = _guarded(
        path, lambda: pd.read_csv(path, header=None, nrows=1, dtype=str, keep_default_na=False)
    )
    return [str(value) for value in first.iloc[0]]


def to_numbers(frame: pd.DataFrame, path: Path, *, first_line: int) -> NDArray[np.float32]:
    """(rows, columns) float32; UserError names the first cell that is no finite number.

    first_line: the file's line of row 0.
    """
    columns = [_numeric(frame[name], path, first_line) for name in frame.columns]
    with np.errstate(over="ignore"):
        values = np.stack(columns, axis=1).astype(np.float32)
    infinite = np.isinf(values)
    if infinite.any():
        row, column = np.argwhere(infinite)[0]
        raise UserError(
            f"{path}: column {frame.columns[column]}, line {row + first_line}: infinite or too "
            "large for a 32-bit number; leave the cell empty where the value is missing"
        )
    return values


def _numeric(column: pd.Series, path: Path, first_line: int) -> NDArray[np.float64]:
    if pd.api.types.is_numeric_dtype(column):
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    numbers = pd.to_numeric(column, errors="coerce")
    bad = np.flatnonzero((numbers.isna() & column.notna()).to_numpy())
    if bad.size:
        raise UserError(
            f"{path}: column {column.name}, line {bad[0] + first_line}: {column.iloc[bad[0]]!r} "
            "is no number; mend the value, or name the column under static or exclude"
        )
    return numbers.to_numpy(dtype=np.float64, na_value=np.nan)


def to_texts(column: pd.Series) -> Texts:
    """(rows,) texts without surrounding blanks, "" where missing."""
    texts: Texts = column.astype(object).where(column.notna(), "").astype(str).to_numpy(object)
    codes, uniques = pd.factorize(texts)
    return np.array([str(text).strip() for text in uniques], dtype=object)[codes]


def is_parquet(path: Path) -> bool:
    """Whether the file's name says Parquet."""
    return path.suffix in {".parquet", ".pq"}


def _table_options(texts: Collection[str], numbers: Collection[str]) -> dict[str, Any]:
    return {
        "dtype": dict.fromkeys(texts, "str"),
        "keep_default_na": False,
        "na_values": dict.fromkeys(numbers, MISSING),
        "low_memory": False,
        "float_precision": "round_trip",
    }


def _headless_options(path: Path, text: int | None) -> dict[str, Any]:
    columns = len(first_row(path))
    return {
        "header": None,
        "dtype": {} if text is None else {text: "str"},
        "keep_default_na": False,
        "na_values": {number: MISSING for number in range(columns) if number != text},
        "low_memory": False,
        "float_precision": "round_trip",
    }


def _checked_table(frame: pd.DataFrame, path: Path) -> pd.DataFrame:
    if frame.empty:
        raise UserError(f"{path}: a header and no rows; fetch or export it again")
    if not isinstance(frame.index, pd.RangeIndex):
        # pandas takes what the header does not name for an index.
        raise UserError(f"{path}: line 2 has more values than the header has names; mend the file")
    return frame


def _pieces(path: Path, begin: Callable[[], Any]) -> Iterator[pd.DataFrame]:
    pieces = _guarded(path, begin)
    with closing(pieces):
        while (piece := _guarded(path, lambda: next(pieces, None))) is not None:
            yield piece


def _parquet_pieces(path: Path, columns: list[str], rows: int) -> Iterator[pd.DataFrame]:
    require_file(path)
    parquet = import_module("pyarrow.parquet")
    first = 0
    with parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=rows, columns=columns):
            frame: pd.DataFrame = batch.to_pandas()
            frame.index = pd.RangeIndex(first, first + len(frame))
            first += len(frame)
            yield frame[columns]


def _parquet_header(path: Path) -> list[str]:
    parquet = import_module("pyarrow.parquet")  # an extra: only Parquet files need it
    return [str(name) for name in parquet.read_schema(path).names]


def _guarded(path: Path, read: Callable[[], T]) -> T:
    try:
        return read()
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path}: damaged or cut short ({error}); fetch it again") from error
    except pd.errors.EmptyDataError as error:
        raise UserError(f"{path}: the file is empty; fetch or export it again") from error
    except ImportError as error:
        raise UserError(f"{path}: needs another package: {error}; pip install pyarrow") from error
    except OSError as error:
        raise UserError(
            f"{path}: cannot read: {error.strerror or error}; check the file"
        ) from error
    except ValueError as error:  # ParserError, UnicodeDecodeError and Arrow's errors are such
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"{path}: not the table its name says ({reason}); mend the file"
        ) from error


def _shortened(names: list[str]) -> str:
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
