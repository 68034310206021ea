"""Backups: all studies, trials, datasets, artifacts and blobs of one moment in one file."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
import zipfile
from collections.abc import Iterator
from datetime import UTC
from importlib.metadata import version
from pathlib import Path
from typing import IO

from sqlalchemy import Connection, Engine, Table, select

from muster.errors import UserError
from muster_db import schema
from muster_db.backup_file import (
    BATCH_ROWS,
    BLOBS,
    CARRIED,
    FORMAT,
    INDEX,
    MANIFEST,
    Manifest,
    Part,
    entry_name,
    to_line,
)
from muster_db.blobs import CHUNK_BYTES
from muster_db.engine import now, transact
from muster_db.tables import blobs, chunks

log = logging.getLogger(__name__)

SPOOL_BYTES = 1024 * 1024


def back_up(engine: Engine, path: Path) -> Manifest:
    """Write all that the database holds at this moment to a new file, while workers go on.

    The file appears whole or not at all. A blob that is damaged in the database is left out with
    a warning. Raises UserError for a file that is there already or cannot be written.
    """
    if path.exists():
        raise UserError(f"{path}: there is such a file already; name another for the backup")
    schema.check(engine)
    # All tables are read as of one moment; READ COMMITTED would show each as of its own.
    snapshot = (
        engine
        if engine.dialect.name == "sqlite"
        else engine.execution_options(isolation_level="REPEATABLE READ")
    )
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w+b") as file:
                manifest = transact(
                    snapshot, lambda connection: _write(connection, file), read_only=True
                )
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(path)
        finally:
            Path(name).unlink(missing_ok=True)
    except OSError as error:
        raise UserError(
            f"{path}: the backup cannot be written ({error.strerror}); "
            "make room or name another place"
        ) from error
    return manifest


def read_lines(connection: Connection, table: Table) -> Iterator[bytes]:
    """The table's rows as a backup's lines, by primary key; few are in memory at once."""
    query = select(table).order_by(*table.primary_key.columns)
    rows = connection.execute(query, execution_options={"yield_per": BATCH_ROWS})
    for row in rows:
        yield to_line(row)


def _write(connection: Connection, file: IO[bytes]) -> Manifest:
    # The transaction may be a second try after a lost connection.
    file.seek(0)
    file.truncate()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        parts = {
            table.name: _write_lines(
                archive,
                entry_name(table),
                read_lines(connection, table),
                columns=tuple(table.c.keys()),
            )
            for table in CARRIED
        }
        with tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES) as index:
            blob_bytes = _write_blobs(connection, archive, index)
            index.seek(0)
            index_part = _write_lines(
                archive, INDEX, iter(index), columns=("sha", "offset", "size")
            )
        manifest = Manifest(
            format=FORMAT,
            muster_version=version("muster"),
            made_at=now(connection).replace(tzinfo=UTC),
            tables=parts,
            blobs=index_part,
            blob_bytes=blob_bytes,
        )
        archive.writestr(MANIFEST, manifest.model_dump_json(indent=1))
    return manifest


def _write_lines(
    archive: zipfile.ZipFile, name: str, lines: Iterator[bytes], *, columns: tuple[str, ...]
) -> Part:
    digest, rows = hashlib.sha256(), 0
    with archive.open(name, "w", force_zip64=True) as entry:
        for line in lines:
            digest.update(line)
            entry.write(line)
            rows += 1
    return Part(columns=columns, rows=rows, sha256=digest.hexdigest())


def _write_blobs(connection: Connection, archive: zipfile.ZipFile, index: IO[bytes]) -> int:
    """Copy the blobs one after another, and note where each whole one stands; their bytes."""
    offset = blob_bytes = 0
    # Stored as it is: weights hardly shrink, and datasets are packed already.
    with archive.open(zipfile.ZipInfo(BLOBS), "w", force_zip64=True) as entry:
        for sha, size in _headers(connection):
            digest, start = hashlib.sha256(), offset
            for piece in _pieces(connection, sha, size):
                digest.update(piece)
                entry.write(piece)
                offset += len(piece)
            if digest.hexdigest() == sha:
                index.write(to_line((sha, start, size)))
                blob_bytes += size
            else:
                log.warning("blob %s is damaged in the database; the backup goes without", sha)
    return blob_bytes


def _headers(connection: Connection) -> Iterator[tuple[str, int]]:
    """SHA-256 and size of the whole blobs; in batches, for their bytes are read in between."""
    last = ""
    query = select(blobs.c.sha, blobs.c.size).where(blobs.c.is_whole.is_(True))
    while batch := connection.execute(
        query.where(blobs.c.sha > last).order_by(blobs.c.sha).limit(BATCH_ROWS)
    ).all():
        yield from ((row.sha, row.size) for row in batch)
        last = batch[-1].sha


def _pieces(connection: Connection, sha: str, size: int) -> Iterator[bytes]:
    query = select(chunks.c.data).where(chunks.c.sha == sha)
    for position in range(max(1, -(-size // CHUNK_BYTES))):
        yield connection.execute(query.where(chunks.c.position == position)).scalar() or b""
