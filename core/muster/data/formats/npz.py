"""NumPy's .npz: an array of sequences, and arrays of labels, groups, lengths and static values."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from muster.data.formats.tables import require_columns, require_file
from muster.data.part import Part, Request, as_texts, numbered, unlabelled
from muster.errors import UserError


def read(request: Request) -> Part:
    """The sequences in the array's order; see Columns for the arrays' names and layout."""
    values = request.description.columns.values
    arrays = _load(request, with_values=True)
    return _part_of(arrays.pop(values), arrays, request, first=0, total=None)


def stream(request: Request, *, numbers: int) -> Iterator[Part]:
    """The same in pieces of about so many numbers, or one where the array lies column by column.

    Only the array of values is read in pieces; the others hold one value a sequence.
    """
    path, name = request.values, request.description.columns.values
    arrays = _load(request, with_values=False)
    with (
        _sound(path),
        path.open("rb") as file,
        zipfile.ZipFile(file) as archive,
        archive.open(f"{name}.npy") as member,
    ):
        shape, is_by_column, dtype = _head(member)
        if is_by_column or dtype.hasobject or len(shape) not in {2, 3} or 0 in shape:
            whole = _array(archive, f"{name}.npy")
            yield _part_of(whole, arrays, request, first=0, total=None)
            return
        size = math.prod(shape[1:])
        most = max(1, numbers // size)
        for first in range(0, shape[0], most):
            count = min(most, shape[0] - first)
            data = member.read(count * size * dtype.itemsize)
            if len(data) != count * size * dtype.itemsize:
                raise ValueError(f"the array {name} is cut short")
            piece = np.frombuffer(data, dtype=dtype).reshape(count, *shape[1:])
            yield _part_of(piece, arrays, request, first=first, total=shape[0])


def _part_of(
    values: NDArray[np.generic],
    arrays: dict[str, NDArray[np.generic]],
    request: Request,
    *,
    first: int,
    total: int | None,
) -> Part:
    """The sequences from number first on, of total (None: as many as values has)."""
    path, columns = request.values, request.description.columns
    cube = _cube(values, path, request, first)
    sequences, steps, width = cube.shape
    total = sequences if total is None else total
    for name, array in arrays.items():
        if array.shape != (total,):
            raise UserError(
                f"{path}: array {name} has shape {array.shape} where {columns.values} has "
                f"{total} sequences; it must hold one value a sequence"
            )
    arrays = {name: array[first : first + sequences] for name, array in arrays.items()}
    names = columns.channels or tuple(f"channel_{number}" for number in range(width))
    keep = [names.index(name) for name in request.channels or _kept(request, names)]
    lengths = np.full(sequences, steps, dtype=np.int64)
    if columns.lengths is not None:
        lengths = _lengths(arrays[columns.lengths], steps, path)
    texts = {name: as_texts(array) for name, array in arrays.items()}
    identifiers = texts.get(columns.identifier or "")
    return Part(
        path=path,
        channels=tuple(names[position] for position in keep),
        values=cube[:, :, keep][np.arange(steps) < lengths[:, None]],
        lengths=lengths,
        identifiers=numbered(sequences, first)
        if identifiers is None
        else tuple(map(str, identifiers)),
        labels=texts.get(columns.label, unlabelled(sequences))
        if request.role != "input"
        else unlabelled(sequences),
        groups=texts.get(columns.group) if columns.group else None,
        static={name: texts[name] for name in columns.static},
    )


def _kept(request: Request, names: tuple[str, ...]) -> list[str]:
    return [name for name in names if name not in request.description.columns.exclude]


def _load(request: Request, *, with_values: bool) -> dict[str, NDArray[np.generic]]:
    """The arrays that the request needs, and labels and groups where they are there."""
    path, columns = request.values, request.description.columns
    facts = list(columns.static)
    if request.role == "train":
        facts += [columns.label, *([columns.group] if columns.group else [])]
    facts += [name for name in (columns.identifier, columns.lengths) if name is not None]
    require_file(path)
    with _sound(path), path.open("rb") as file, zipfile.ZipFile(file) as archive:
        present = [name.removesuffix(".npy") for name in archive.namelist()]
        require_columns(path, present, [columns.values, *facts])
        names = {*facts, *(name for name in (columns.label, columns.group) if name in present)}
        names |= {columns.values} if with_values else set()
        return {str(name): _array(archive, f"{name}.npy") for name in names}


@contextmanager
def _sound(path: Path) -> Iterator[None]:
    """UserError for whatever a damaged file makes zipfile and NumPy say."""
    try:
        yield
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        NotImplementedError,
        RuntimeError,
        OSError,
        ValueError,
        MemoryError,
        OverflowError,
    ) as error:
        raise UserError(f"{path}: not a sound .npz file ({error}); save it again") from error


def _head(member: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether it is stored column by column, and type of the array that follows."""
    # numpy's stubs leave these functions without types.
    formats: Any = np.lib.format
    reader = {(1, 0): formats.read_array_header_1_0, (2, 0): formats.read_array_header_2_0}
    version = formats.read_magic(member)
    if version not in reader:
        raise ValueError(f"version {version} of the .npy format")
    shape, is_by_column, dtype = reader[version](member)
    return shape, is_by_column, dtype


def _array(archive: zipfile.ZipFile, name: str) -> NDArray[np.generic]:
    with archive.open(name) as member:
        return np.asarray(np.load(member, allow_pickle=False))


def _cube(
    array: NDArray[np.generic], path: Path, request: Request, first: int
) -> NDArray[np.float32]:
    """(sequences, steps, channels) float32 of whichever layout the description names."""
    columns = request.description.columns
    if array.ndim == 2:
        array = array[:, :, None]
    elif array.ndim == 3 and columns.layout == "channels_first":
        array = array.transpose(0, 2, 1)
    if array.ndim != 3 or 0 in array.shape:
        raise UserError(
            f"{path}: array {columns.values} has shape {array.shape}; it must be "
            "(sequences, steps) or (sequences, channels, steps) and hold at least one value"
        )
    if array.dtype.kind not in "buif":
        raise UserError(f"{path}: array {columns.values} holds {array.dtype}, not numbers")
    names = columns.channels
    if names is not None and len(names) != array.shape[2]:
        raise UserError(
            f"{path}: array {columns.values} has {array.shape[2]} channels where {len(names)} are "
            "named; mend [columns] channels or layout"
        )
    _require_channels(request, array.shape[2])
    with np.errstate(over="ignore"):
        values = np.ascontiguousarray(array).astype(np.float32)
    infinite = np.argwhere(np.isinf(values))
    if infinite.size:
        row, step, channel = infinite[0]
        raise UserError(
            f"{path}: array {columns.values}, sequence {first + row}, channel {channel}, step "
            f"{step}: infinite or too large for a 32-bit number; write NaN where the value is "
            "missing"
        )
    return values


def _require_channels(request: Request, width: int) -> None:
    names = request.description.columns.channels
    if names is None and request.channels is not None:
        last = max(int(name.removeprefix("channel_")) for name in request.channels)
        if last >= width:
            raise UserError(
                f"{request.values}: has {width} channels and lacks channel_{last}; mend the file"
            )


def _lengths(array: NDArray[np.generic], steps: int, path: Path) -> NDArray[np.int64]:
    lengths = np.asarray(array).astype(np.int64)
    if lengths.min() < 1 or lengths.max() > steps:
        raise UserError(f"{path}: lengths must lie between 1 and {steps}; mend the lengths array")
    return lengths
