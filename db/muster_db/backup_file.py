"""A backup's file: a zip of JSON lines a table, the blobs' bytes, and a manifest of SHA-256s.

`tables/NAME.jsonl` holds a row a line, its values in the order of the manifest's columns;
`blobs.bin` the blobs one after another, `blobs.jsonl` where each stands: [sha, offset, size].
"""

from __future__ import annotations

import hashlib
import json
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from enum import Enum
from itertools import islice
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError
from sqlalchemy import Column, DateTime, Table
from sqlalchemy import Enum as EnumColumn

from muster.errors import UserError
from muster_db import tables
from muster_db.blobs import CHUNK_BYTES

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
BLOBS: Final = "blobs.bin"
INDEX: Final = "blobs.jsonl"
BATCH_ROWS: Final = 500
# What is carried row by row, in an order that foreign keys allow.
CARRIED: Final[tuple[Table, ...]] = (
    *(table for table in tables.OPTUNA.sorted_tables if table.name != "version_info"),
    tables.studies,
    tables.ensembles,
    tables.trials,
    tables.trial_blobs,
    tables.workers,
    tables.artifacts,
    tables.datasets,
)
# What backups of before these tables lack.
LATER: Final = frozenset({tables.ensembles.name})
# All that zipfile, zlib and json say of bytes that are not what was written. RuntimeError: a
# flipped bit that marks an entry as encrypted, or its compression as unknown.
DAMAGE: Final = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, LookupError, TypeError, ValueError,
    RuntimeError, OSError,
)  # fmt: skip


class Part(BaseModel):
    """One table's entry. sha256: of the entry's bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    columns: tuple[str, ...]
    rows: NonNegativeInt
    sha256: str


class Manifest(BaseModel):
    """What a backup holds. blobs: the index's part; blob_bytes: of all blobs together."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int
    muster_version: str
    made_at: datetime
    tables: dict[str, Part]
    blobs: Part
    blob_bytes: NonNegativeInt

    def __str__(self) -> str:
        counted = (("studies", "studies"), ("trials", "trials"), ("muster_datasets", "datasets"))
        rows = [f"{self.tables[name].rows} {noun}" for name, noun in counted]
        blobs = f"{self.blobs.rows} blobs ({self.blob_bytes / 1e6:.1f} MB)"
        return ", ".join([*rows, blobs])


def entry_name(table: Table) -> str:
    """The zip entry of a table's rows."""
    return f"tables/{table.name}.jsonl"


def to_line(values: Sequence[Any]) -> bytes:
    """A row as a JSON line; floats keep every bit."""
    return json.dumps([_plain(value) for value in values]).encode() + b"\n"


class BackupFile:
    """An open backup whose every byte has been checked."""

    def __init__(self, path: Path, archive: zipfile.ZipFile, manifest: Manifest) -> None:
        self._path = path
        self._archive = archive
        self.manifest = manifest

    def batches(self, table: Table) -> Iterator[list[dict[str, Any]]]:
        """The table's rows, column to value, some hundred at a time."""
        if table.name not in self.manifest.tables:
            return
        columns = [table.c[name] for name in self.manifest.tables[table.name].columns]
        with damage_told(self._path), self._archive.open(entry_name(table)) as lines:
            while batch := list(islice(lines, BATCH_ROWS)):
                yield [_row(columns, line) for line in batch]

    def blobs(self) -> Iterator[tuple[str, int, Iterator[bytes]]]:
        """Each blob's SHA-256, size and bytes in pieces of 512 KiB; read them in this order."""
        archive = self._archive
        with damage_told(self._path), archive.open(INDEX) as lines, archive.open(BLOBS) as data:
            for line in lines:
                sha, offset, size = json.loads(line)
                data.seek(offset)
                yield sha, size, self._pieces(data, size)

    def check(self) -> None:
        """Raise UserError where a byte is not what was written."""
        manifest = self.manifest
        with damage_told(self._path):
            for table in CARRIED:
                if table.name in manifest.tables:
                    self._check_lines(entry_name(table), manifest.tables[table.name])
            self._check_lines(INDEX, manifest.blobs)
        for table in CARRIED:
            for _ in self.batches(table):
                pass
        for sha, _, pieces in self.blobs():
            digest = hashlib.sha256()
            for piece in pieces:
                digest.update(piece)
            if digest.hexdigest() != sha:
                raise _damaged(self._path, f"blob {sha}")

    def _check_lines(self, name: str, part: Part) -> None:
        digest, rows = hashlib.sha256(), 0
        with self._archive.open(name) as lines:
            for line in lines:
                digest.update(line)
                rows += 1
        if (digest.hexdigest(), rows) != (part.sha256, part.rows):
            raise _damaged(self._path, name)

    def _pieces(self, data: Any, size: int) -> Iterator[bytes]:
        with damage_told(self._path):
            # An empty blob has one empty piece, as in the database.
            for start in range(0, max(size, 1), CHUNK_BYTES):
                wanted = min(CHUNK_BYTES, size - start)
                piece = data.read(wanted)
                if len(piece) != wanted:
                    raise EOFError(f"{len(piece)} bytes in place of {wanted}")
                yield piece


@contextmanager
def open_backup(path: Path) -> Iterator[BackupFile]:
    """Open and check a backup. Raises UserError: missing, damaged, or of a newer format."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise UserError(f"{path}: the backup cannot be read ({error.strerror})") from error
    with file:
        with damage_told(path):
            archive = zipfile.ZipFile(file)
        with archive:
            backup = BackupFile(path, archive, _read_manifest(path, archive))
            backup.check()
            yield backup


@contextmanager
def damage_told(path: Path) -> Iterator[None]:
    """Turn what reading damaged bytes raises into a UserError."""
    try:
        yield
    except DAMAGE as error:
        raise _damaged(path, str(error) or type(error).__name__) from error


def _damaged(path: Path, what: str) -> UserError:
    return UserError(
        f"{path}: not a whole backup of muster ({what}); it was damaged or cut off: take another "
        "copy. Nothing was restored"
    )


def _read_manifest(path: Path, archive: zipfile.ZipFile) -> Manifest:
    with damage_told(path):
        facts = json.loads(archive.read(MANIFEST))
        format_found, writer = int(facts["format"]), facts["muster_version"]
    newer = UserError(
        f"{path}: muster {writer} wrote this backup in a format (number {format_found}) that is "
        "newer than this muster; install the newest muster. Nothing was restored"
    )
    if format_found > FORMAT:
        raise newer
    try:
        manifest = Manifest.model_validate(facts)
    except ValidationError as error:
        raise _damaged(path, MANIFEST) from error
    with damage_told(path):
        for table in CARRIED:
            if table.name in LATER and table.name not in manifest.tables:
                continue
            missing = _needed(table) - set(manifest.tables[table.name].columns)
            if missing:
                raise KeyError(f"{table.name} lacks {', '.join(sorted(missing))}")
    known = {table.name: set(table.c.keys()) for table in CARRIED}
    if any(
        not set(part.columns) <= known.get(name, set()) for name, part in manifest.tables.items()
    ):
        raise newer
    return manifest


def _needed(table: Table) -> set[str]:
    return {column.name for column in table.c if not column.nullable}


def _row(columns: Sequence[Column[Any]], line: bytes) -> dict[str, Any]:
    values = json.loads(line)
    return {
        column.name: _typed(column, value) for column, value in zip(columns, values, strict=True)
    }


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return value.name if isinstance(value, Enum) else value


def _typed(column: Column[Any], value: Any) -> Any:
    if value is None:
        return None
    if isinstance(column.type, DateTime):
        return datetime.fromisoformat(value)
    if isinstance(column.type, EnumColumn) and column.type.enum_class is not None:
        return column.type.enum_class[value]
    return value
