"""The files of a bundle, in a folder or in a .zip: none is unpacked to the disk, none is trusted.

Names lead nowhere: they are compared with the manifest's and never joined to a path unless they
were listed here. Links, odd files and archives that swell are refused before anything is read.
"""

from __future__ import annotations

import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from muster.errors import UserError
from muster_ensemble.files import write_file, write_folder

MEND = "copy the bundle again, or export it again with `muster export`"
ZIP = ".zip"
# Weights hardly shrink and JSON to a tenth: what swells more was made to.
MOST_SWELLING = 20
MOST_FILES = 100_000
LARGEST_FILE = 2**31
METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
# Whatever zipfile says of bytes that are no sound archive.
BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    LookupError,
    ValueError,
    OverflowError,
)


def list_files(path: Path) -> dict[str, int]:
    """Names (with `/` between folders) and sizes in bytes of the files of the bundle at path.

    Raises UserError where nothing is there, for links, and for an archive that is damaged,
    encrypted, packed otherwise than by deflating, or much smaller than its content.
    """
    if path.is_dir():
        return _list_folder(path)
    if path.is_file():
        return _list_archive(path)
    raise UserError(f"{path}: no bundle is there; name the bundle's folder or its .zip file")


def read_files(path: Path, sizes: Mapping[str, int]) -> dict[str, bytes]:
    """The content of these files of list_files; no file is read beyond its size.

    Raises UserError for one that is longer or shorter than that, or cannot be read.
    """
    if path.is_dir():
        found = {name: _read(path / name, size) for name, size in sizes.items()}
    else:
        with _archive(path) as archive:
            found = {name: _unpack(archive, name, size) for name, size in sizes.items()}
    for name, data in found.items():
        if len(data) != sizes[name]:
            raise UserError(f"{path / name}: not {sizes[name]} bytes long as it says; {MEND}")
    return found


def write_files(path: Path, files: Mapping[str, bytes]) -> None:
    """Put the files at path, whole or not at all: a .zip where its name says so, else a folder."""
    if path.suffix == ZIP:
        write_file(path, _pack(files))
    else:
        write_folder(path, files)


def _list_folder(path: Path) -> dict[str, int]:
    found = {}
    for place in sorted(path.rglob("*")):
        if place.is_symlink():
            raise UserError(f"{place}: a link, which a bundle never holds; {MEND}")
        if place.is_dir():
            continue
        if not place.is_file():
            raise UserError(f"{place}: neither a file nor a folder; {MEND}")
        found[place.relative_to(path).as_posix()] = place.stat().st_size
    return _bearable(path, found)


def _list_archive(path: Path) -> dict[str, int]:
    found: dict[str, int] = {}
    with _archive(path) as archive:
        for entry in archive.infolist():
            if stat.S_ISLNK(entry.external_attr >> 16):
                raise UserError(f"{path}: {entry.filename!r} is a link; {MEND}")
            if entry.compress_type not in METHODS or entry.flag_bits & 1:
                raise UserError(f"{path}: {entry.filename!r} is packed in another way; {MEND}")
            if entry.filename in found:
                raise UserError(f"{path}: {entry.filename!r} is in it twice; {MEND}")
            if not entry.is_dir():
                found[entry.filename] = entry.file_size
    if sum(found.values()) > MOST_SWELLING * path.stat().st_size:
        raise UserError(
            f"{path}: says it holds {sum(found.values())} bytes, more than {MOST_SWELLING} times "
            f"its own size; {MEND}"
        )
    return _bearable(path, found)


def _bearable(path: Path, found: dict[str, int]) -> dict[str, int]:
    if len(found) > MOST_FILES:
        raise UserError(f"{path}: more than {MOST_FILES} files, so no bundle; {MEND}")
    for name, size in found.items():
        if size > LARGEST_FILE:
            raise UserError(f"{path}: {name!r} is {size} bytes long, too long to be read; {MEND}")
    return found


@contextmanager
def _archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """The archive at path; whatever is wrong with its bytes is told as a UserError."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except BROKEN as fault:
        raise UserError(f"{path}: no sound .zip file ({fault}); {MEND}") from fault
    except OSError as fault:
        raise UserError(f"{path}: cannot be read ({fault.strerror or fault}); {MEND}") from fault


def _unpack(archive: zipfile.ZipFile, name: str, size: int) -> bytes:
    # One byte more, so that the end is met and its checksum looked at.
    with archive.open(name) as stream:
        return stream.read(size + 1)


def _read(place: Path, size: int) -> bytes:
    try:
        with place.open("rb") as stream:
            return stream.read(size + 1)
    except OSError as fault:
        raise UserError(f"{place}: cannot be read ({fault.strerror}); {MEND}") from fault


def _pack(files: Mapping[str, bytes]) -> bytes:
    """A .zip, the same bytes for the same files; stored, since weights do not shrink."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system = 3
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, data)
    return stream.getvalue()
