"""Sequences in a program's memory, as tables or arrays, made one dataset of a bundle's schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from muster.data.assemble import assemble_input
from muster.data.dataset import Dataset
from muster.data.formats.long_csv import choose_columns, part_of
from muster.data.part import Part, as_texts, numbered, unlabelled
from muster.data.readers import input_request
from muster.data.schema import Schema
from muster.errors import UserError

Data = Dataset | pd.DataFrame | NDArray[Any] | Sequence[ArrayLike]
Static = pd.DataFrame | Mapping[str, ArrayLike]
TABLE = Path("the table")
ARRAYS = Path("the arrays")


def as_dataset(schema: Schema, data: Data, static: Static | None = None) -> Dataset:
    """The data as a dataset that is all test part; a dataset is given back as it is.

    data: a long table with the dataset's columns, a row for each sequence and time step
    (`sample_index` where the dataset names no identifier; without a time column, in the rows'
    order), sequences in the order of their first row; or an array (sequences, steps, channels),
    (sequences, steps) for one channel; or a list of arrays (steps, channels). NaN is a missing
    value. static: for arrays, the static columns' values, one a sequence.
    Raises UserError for missing channels or columns, empty sequences and what are no numbers.
    """
    if isinstance(data, Dataset):
        return data
    if isinstance(data, pd.DataFrame):
        return _from_table(schema, data)
    return _from_arrays(schema, data, {} if static is None else dict(static))


def _from_table(schema: Schema, frame: pd.DataFrame) -> Dataset:
    request = input_request(schema, TABLE)
    columns = request.description.columns
    if columns.identifier is None:
        named = columns.model_copy(update={"identifier": "sample_index"})
        described = request.description.model_copy(update={"columns": named})
        request = type(request)(**{**vars(request), "description": described})
    chosen = choose_columns(request, [str(name) for name in frame.columns], [])
    if not len(frame):
        return _empty(schema)
    part = part_of(frame.reset_index(drop=True), request, chosen)
    return assemble_input(request.description, schema, part)


def _from_arrays(
    schema: Schema, data: NDArray[Any] | Sequence[ArrayLike], static: dict[str, Any]
) -> Dataset:
    sequences = [_sequence(schema, each, number) for number, each in enumerate(data)]
    if not sequences:
        return _empty(schema)
    absent = [column.name for column in schema.static if column.name not in static]
    if absent:
        raise UserError(
            f"{ARRAYS}: static column {', '.join(absent)} is missing; give it as static="
            "{name: one value a sequence}"
        )
    texts = {c.name: as_texts(np.asarray(static[c.name])) for c in schema.static}
    for name, values in texts.items():
        if values.shape != (len(sequences),):
            raise UserError(
                f"{ARRAYS}: static column {name} has shape {values.shape}, not one value for each "
                f"of {len(sequences)} sequences"
            )
    request = input_request(schema, ARRAYS)
    part = Part(
        path=ARRAYS,
        channels=schema.channels,
        values=np.concatenate(sequences),
        lengths=np.array([len(each) for each in sequences], dtype=np.int64),
        identifiers=numbered(len(sequences)),
        labels=unlabelled(len(sequences)),
        static=texts,
    )
    return assemble_input(request.description, schema, part)


def _sequence(schema: Schema, each: ArrayLike, number: int) -> NDArray[np.float32]:
    """(steps, channels) float32 of one sequence."""
    array, width = np.asarray(each), len(schema.channels)
    if array.dtype.kind not in "buif":
        raise UserError(f"{ARRAYS}: sequence {number} holds {array.dtype}, not numbers")
    if array.ndim == 1 and width == 1:
        array = array[:, None]
    if array.ndim != 2 or array.shape[1] != width or not len(array):
        raise UserError(
            f"{ARRAYS}: sequence {number} has shape {array.shape}; it must be (steps, {width}), "
            f"at least one step of the channels {', '.join(schema.channels)}"
        )
    with np.errstate(over="ignore"):
        values = array.astype(np.float32)
    if np.isinf(values).any():
        raise UserError(
            f"{ARRAYS}: sequence {number} holds an infinite value, or one too large for a 32-bit "
            "number; give NaN where a value is missing"
        )
    return values


def _empty(schema: Schema) -> Dataset:
    """No sequence at all, which has no predictions."""
    description = input_request(schema, ARRAYS).description
    return Dataset(
        name=description.name,
        schema=schema,
        values=np.zeros((0, len(schema.channels)), dtype=np.float32),
        offsets=np.zeros(1, dtype=np.int64),
        static=np.zeros((0, schema.static_features), dtype=np.float32),
        labels=np.zeros(0, dtype=np.int64),
        groups=None,
        is_test=np.zeros(0, dtype=np.bool_),
        identifiers=(),
    )
