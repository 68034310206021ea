"""Datasets in the database, fetched by fingerprint and cached as files."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, Engine, or_, select, update

from muster.data.archive import pack, unpack
from muster.data.dataset import Dataset
from muster.data.fingerprint import fingerprint as fingerprint_of
from muster.errors import DiskFull, UserError
from muster_db import blobs, records
from muster_db.clock import clock
from muster_db.database import Database, remotable
from muster_db.engine import transact
from muster_db.tables import datasets

log = logging.getLogger(__name__)

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class StoredDataset:
    """What the database says of a dataset without its sequences."""

    fingerprint: str
    name: str
    sequences: int
    channels: int
    classes: int
    sha: str


def store(engine: Engine, dataset: Dataset) -> str:
    """Store a dataset, once for each content; returns its fingerprint. A damaged one is mended."""
    fingerprint = fingerprint_of(dataset)
    sha = blobs.put(engine, pack(dataset))

    def verb(connection: Connection) -> None:
        # Packed from another place, or by another zlib, it has other bytes: these are whole.
        known = update(datasets).where(datasets.c.fingerprint == fingerprint)
        if connection.execute(known.values(sha=sha)).rowcount:
            return
        row = {
            "fingerprint": fingerprint,
            "name": dataset.name,
            "sha": sha,
            "sequences": len(dataset),
            "channels": len(dataset.schema.channels),
            "classes": len(dataset.schema.classes),
            "stored_at": clock(),
        }
        # Another process may store the same one between the look and here.
        records.upsert(connection, datasets, [row], keys=("fingerprint",))

    transact(engine, verb)
    return fingerprint


@remotable
def list_datasets(engine: Engine, name: str | None = None) -> list[StoredDataset]:
    """All stored datasets (or those of one name or fingerprint), the newest first."""
    query = select(datasets).order_by(datasets.c.stored_at.desc())
    if name is not None:
        query = query.where(or_(datasets.c.name == name, datasets.c.fingerprint == name))
    rows = transact(engine, lambda connection: connection.execute(query).all(), read_only=True)
    return [
        StoredDataset(row.fingerprint, row.name, row.sequences, row.channels, row.classes, row.sha)
        for row in rows
    ]


def find(engine: Database, name: str) -> StoredDataset:
    """The newest dataset of that name or fingerprint; raises UserError that lists the known."""
    found = list_datasets(engine, name)
    if not found:
        known = ", ".join(dict.fromkeys(each.name for each in list_datasets(engine)))
        listed = known or "none yet; store one with `muster data add`"
        raise UserError(f"there is no dataset {name!r}; the datasets here: {listed}")
    return found[0]


def fetch(
    engine: Database,
    fingerprint: str,
    *,
    cache: Path,
    between: Callable[[], object] = lambda: None,
) -> Dataset:
    """The dataset of that fingerprint, out of the cache folder where it is whole there.

    between: called between the rows of 512 KiB that are fetched.

    Raises UserError when the database lacks it, or holds another than the fingerprint says, and
    where the folder may not be written to; DiskFull where it has no room.
    """
    path = cache / f"{fingerprint}.npz"
    if (cached := _cached(path, fingerprint)) is not None:
        return cached
    data = blobs.get(engine, find(engine, fingerprint).sha, between=between)
    dataset = unpack(data)
    if fingerprint_of(dataset) != fingerprint:
        raise UserError(
            f"dataset {fingerprint}: the database holds other content than its fingerprint says; "
            "store it again with `muster data add`"
        )
    _write_whole(path, data)
    return dataset


def _cached(path: Path, fingerprint: str) -> Dataset | None:
    try:
        dataset = unpack(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, UserError) as error:
        log.warning("%s: unreadable, fetched again: %s", path, error)
        return None
    if fingerprint_of(dataset) != fingerprint:
        log.warning("%s: damaged, fetched again", path)
        return None
    return dataset


def _write_whole(path: Path, data: bytes) -> None:
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except OSError as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()
        # Neither mends itself: a worker that tried again would wait for ever.
        kind = DiskFull if error.errno in NO_ROOM else UserError
        raise kind(
            f"{path.parent}: the dataset cannot be cached there ({error.strerror}); "
            "make room or name another folder in MUSTER_CACHE_DIR"
        ) from error
