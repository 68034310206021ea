"""NumPy's .npz: an array of sequences, and arrays of labels, groups, lengths and static values."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from muster.data.formats.tables import require_columns, require_file
from muster.data.part import Part, Request, Texts, as_texts, numbered, unlabelled
from muster.errors import UserError


def read(request: Request) -> Part:
    """The sequences in the array's order; see Columns for the arrays' names and layout."""
    path, columns = request.values, request.description.columns
    facts = list(columns.static)
    if request.role == "train":
        facts += [columns.label, *([columns.group] if columns.group else [])]
    if columns.identifier is not None:
        facts.append(columns.identifier)
    wanted = [columns.values, *facts, *([columns.lengths] if columns.lengths else [])]
    arrays = _load(path, wanted, optional=[columns.label, columns.group])
    cube = _cube(arrays[columns.values], path, request)
    sequences, steps, width = cube.shape
    for name in set(arrays) - {columns.values}:
        if arrays[name].shape != (sequences,):
            raise UserError(
                f"{path}: array {name} has shape {arrays[name].shape} where {columns.values} has "
                f"{sequences} sequences; it must hold one value a sequence"
            )
    names = columns.channels or tuple(f"channel_{number}" for number in range(width))
    keep = [names.index(name) for name in request.channels or _kept(request, names)]
    lengths = np.full(sequences, steps, dtype=np.int64)
    if columns.lengths is not None:
        lengths = _lengths(arrays[columns.lengths], steps, path)
    texts = {name: as_texts(arrays[name]) for name in set(arrays) - {columns.values}}
    return Part(
        path=path,
        channels=tuple(names[position] for position in keep),
        values=cube[:, :, keep][np.arange(steps) < lengths[:, None]],
        lengths=lengths,
        identifiers=_identifiers(texts.get(columns.identifier or ""), sequences),
        labels=texts.get(columns.label, unlabelled(sequences))
        if request.role != "input"
        else unlabelled(sequences),
        groups=texts.get(columns.group) if columns.group else None,
        static={name: texts[name] for name in columns.static},
    )


def _identifiers(texts: Texts | None, sequences: int) -> tuple[str, ...]:
    return numbered(sequences) if texts is None else tuple(map(str, texts))


def _kept(request: Request, names: tuple[str, ...]) -> list[str]:
    return [name for name in names if name not in request.description.columns.exclude]


def _load(
    path: Path, wanted: list[str], *, optional: list[str | None]
) -> dict[str, NDArray[np.generic]]:
    require_file(path)
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            present = [name.removesuffix(".npy") for name in archive.namelist()]
            require_columns(path, present, wanted)
            names = {*wanted, *(name for name in optional if name in present)}
            return {str(name): _array(archive, f"{name}.npy") for name in names}
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError) as error:
        raise UserError(f"{path}: not a sound .npz file ({error}); save it again") from error


def _array(archive: zipfile.ZipFile, name: str) -> NDArray[np.generic]:
    with archive.open(name) as member:
        return np.asarray(np.load(member, allow_pickle=False))


def _cube(array: NDArray[np.generic], path: Path, request: Request) -> NDArray[np.float32]:
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
            f"{path}: array {columns.values}, sequence {row}, channel {channel}, step {step}: "
            "infinite or too large for a 32-bit number; write NaN where the value is missing"
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
