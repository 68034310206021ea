"""A stored dataset without its sequences: lengths, labels and groups, read where they lie."""

from __future__ import annotations

import io
import zipfile
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Engine, select

from muster.errors import UserError
from muster_db.blobs import CHUNK_BYTES, DamagedBlob
from muster_db.datasets import find
from muster_db.engine import transact
from muster_db.tables import blobs, chunks


@dataclass(frozen=True)
class Outline:
    """lengths, labels, is_test: (sequences,), labels -1 for none. groups: codes, or None."""

    lengths: NDArray[np.int64]
    labels: NDArray[np.int64]
    groups: NDArray[np.int64] | None
    is_test: NDArray[np.bool_]


def read_outline(engine: Engine, fingerprint: str) -> Outline:
    """Fetch the few rows of the dataset's blob that hold these, however large the rest is.

    Raises UserError where the dataset is gone or damaged, and Unavailable.
    """
    stored = find(engine, fingerprint)
    try:
        with zipfile.ZipFile(_Stored(engine, stored.sha)) as archive:
            names = set(archive.namelist())
            arrays = {
                name: np.load(io.BytesIO(archive.read(f"{name}.npy")), allow_pickle=False)
                for name in ("offsets", "labels", "groups", "is_test")
                if f"{name}.npy" in names
            }
        return Outline(
            lengths=np.diff(arrays["offsets"]).astype(np.int64),
            labels=arrays["labels"].astype(np.int64),
            groups=arrays["groups"].astype(np.int64) if "groups" in arrays else None,
            is_test=arrays["is_test"].astype(np.bool_),
        )
    except (zipfile.BadZipFile, zlib.error, EOFError, LookupError, ValueError, OSError) as error:
        raise DamagedBlob(
            f"dataset {stored.name}: damaged in the database ({error}); store it again with "
            "`muster data add`"
        ) from error


class _Stored(io.RawIOBase):
    """A blob as a file that is read in place; zipfile checks each part that it reads."""

    def __init__(self, engine: Engine, sha: str) -> None:
        super().__init__()
        self._engine = engine
        self._sha = sha
        self._place = 0
        self._row: tuple[int, bytes] = (-1, b"")
        query = select(blobs.c.size).where(blobs.c.sha == sha, blobs.c.is_whole.is_(True))
        size = transact(engine, lambda each: each.execute(query).scalar(), read_only=True)
        if size is None:
            raise UserError(f"blob {sha}: not in this database; store its dataset again")
        self._size = int(size)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        self._place = max(0, start + offset)
        return self._place

    def readinto(self, buffer: Any) -> int:
        if self._place >= self._size:
            return 0
        position, begin = divmod(self._place, CHUNK_BYTES)
        part = self._chunk(position)[begin : begin + len(buffer)]
        buffer[: len(part)] = part
        self._place += len(part)
        return len(part)

    def _chunk(self, position: int) -> bytes:
        if self._row[0] != position:
            query = select(chunks.c.data).where(
                chunks.c.sha == self._sha, chunks.c.position == position
            )
            data = transact(
                self._engine, lambda each: each.execute(query).scalar(), read_only=True
            )
            self._row = (position, data or b"")
        return self._row[1]
