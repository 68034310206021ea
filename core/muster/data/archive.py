"""A dataset as bytes: a zip of .npy arrays and one JSON file, nothing that is unpickled."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from muster.data.dataset import UNLABELLED, Dataset
from muster.data.schema import Schema
from muster.errors import UserError

FORMAT = 1
HEAD = "dataset.json"
DTYPES = {
    "values": "<f4",
    "offsets": "<i8",
    "static": "<f4",
    "labels": "<i8",
    "groups": "<i8",
    "is_test": "|b1",
}


def pack(dataset: Dataset) -> bytes:
    """The dataset as bytes; the same dataset gives the same bytes."""
    head = {
        "format": FORMAT,
        "name": dataset.name,
        "schema": dataset.schema.model_dump(mode="json"),
        "identifiers": list(dataset.identifiers),
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        _write(archive, HEAD, json.dumps(head, sort_keys=True).encode())
        for name, dtype in DTYPES.items():
            array = getattr(dataset, name)
            if array is None:
                continue
            file = io.BytesIO()
            np.save(file, np.ascontiguousarray(array, dtype=dtype), allow_pickle=False)
            _write(archive, f"{name}.npy", file.getvalue())
    return buffer.getvalue()


def unpack(data: bytes) -> Dataset:
    """The dataset that pack made of data; UserError where the bytes are damaged."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            head = json.loads(archive.read(HEAD))
            names = set(archive.namelist())
            arrays = {
                name: _array(archive.read(f"{name}.npy"), dtype)
                for name, dtype in DTYPES.items()
                if name != "groups" or "groups.npy" in names
            }
        dataset = _build(head, arrays)
        problem = _problem(dataset)
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        NotImplementedError,  # a damaged byte may name an unknown compression
        RuntimeError,  # or claim encryption
        OSError,
        LookupError,
        TypeError,
        ValueError,
        ValidationError,
    ) as error:
        raise UserError(f"damaged dataset archive ({error}); fetch or store it again") from error
    if problem is not None:
        raise UserError(f"damaged dataset archive ({problem}); fetch or store it again")
    return dataset


def _write(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    entry.create_system = 3
    archive.writestr(entry, content, compress_type=zipfile.ZIP_DEFLATED, compresslevel=6)


def _array(content: bytes, dtype: str) -> NDArray[Any]:
    array = np.load(io.BytesIO(content), allow_pickle=False)
    if not isinstance(array, np.ndarray) or array.dtype != np.dtype(dtype):
        raise ValueError(f"an array of another type where {dtype} belongs")
    return np.asarray(array.astype(np.dtype(dtype).newbyteorder("="), copy=False))


def _build(head: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Dataset:
    if head["format"] != FORMAT:
        raise ValueError(f"format {head['format']} where this version reads {FORMAT}")
    return Dataset(
        name=str(head["name"]),
        schema=Schema.model_validate(head["schema"]),
        values=arrays["values"],
        offsets=arrays["offsets"],
        static=arrays["static"],
        labels=arrays["labels"],
        groups=arrays.get("groups"),
        is_test=arrays["is_test"],
        identifiers=tuple(map(str, head["identifiers"])),
    )


def _problem(dataset: Dataset) -> str | None:
    """What does not fit together, or None."""
    count, schema = len(dataset), dataset.schema
    shapes = {
        "values": (int(dataset.offsets[-1]), len(schema.channels)),
        "offsets": (count + 1,),
        "static": (count, schema.static_features),
        "labels": (count,),
        "is_test": (count,),
    } | ({"groups": (count,)} if dataset.groups is not None else {})
    for name, shape in shapes.items():
        if getattr(dataset, name).shape != shape:
            return f"{name} has shape {getattr(dataset, name).shape}, expected {shape}"
    if dataset.offsets[0] != 0 or (count and dataset.lengths.min() < 1):
        return "offsets do not rise from 0"
    if count and not UNLABELLED <= dataset.labels.min() <= dataset.labels.max() < len(
        schema.classes
    ):
        return "a label outside the classes"
    return None
