"""Blobs in the database: cut into rows, named by their SHA-256, checked on reading."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from optuna.trial import TrialState
from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Update,
    delete,
    exists,
    func,
    select,
    update,
)

from muster.errors import Unavailable, UserError
from muster_db import leases, names, records
from muster_db.clock import clock
from muster_db.database import Database, remotable
from muster_db.engine import transact
from muster_db.study import Study, StudyKey
from muster_db.tables import (
    artifacts,
    blobs,
    chunks,
    datasets,
    optuna_trials,
    optuna_values,
    trial_blobs,
    trials,
)

log = logging.getLogger(__name__)

CHUNK_BYTES = 512 * 1024
# Each but the first follows a collector that took the blob away, or a row that came out wrong.
ROUNDS = 5


class DamagedBlob(UserError):
    """The blob store holds other bytes than the name says, or lacks some."""


def _nothing() -> None:
    """Do nothing between two rows."""


def put(engine: Database, data: bytes, *, between: Callable[[], object] = _nothing) -> str:
    """Store bytes, a transaction for each 512 KiB; returns their SHA-256.

    What the database holds of them already, by its own SHA-256 of each row, is not sent again: a
    cut-off upload goes on, a damaged blob is mended. Any number of processes may store the same.
    between: called before each row is sent, so that a caller can keep its lease; what it raises
    ends the upload.
    """
    sha = hashlib.sha256(data).hexdigest()
    pieces = [
        data[start : start + CHUNK_BYTES] for start in range(0, max(len(data), 1), CHUNK_BYTES)
    ]
    digests = [hashlib.sha256(piece).hexdigest() for piece in pieces]
    for _ in range(ROUNDS):
        wanting = settle(engine, sha, size=len(data), digests=digests)
        if not wanting:
            return sha
        for position in wanting:
            between()
            if not write_chunk(engine, sha, position, pieces[position]):
                break
    raise DamagedBlob(
        f"blob {sha}: the database holds other bytes than it is sent; check its disk"
    )


def get(engine: Database, sha: str, *, between: Callable[[], object] = _nothing) -> bytes:
    """The bytes of that SHA-256; raises DamagedBlob when they are missing or differ.

    between: called before each row of 512 KiB is read; what it raises ends the reading.
    """
    data = _read(engine, sha, between)
    if data is None:
        raise DamagedBlob(f"blob {sha}: not in this database; it was collected or never stored")
    if hashlib.sha256(data).hexdigest() != sha:
        raise DamagedBlob(
            f"blob {sha}: its bytes are damaged in the database; store it again, or restore a "
            "backup"
        )
    return data


def keep_best_weights(engine: Database, study: Study, *, keep: int) -> int:
    """Drop the fold weights of all told trials but the best keep; returns how many blobs went."""
    return drop_weights(engine, study, direction=study.contract.direction, keep=keep)


@remotable
def drop_weights(engine: Engine, study: StudyKey, *, direction: str, keep: int) -> int:
    """keep_best_weights, as a verb."""

    def verb(connection: Connection) -> list[str]:
        weights = connection.execute(
            select(trial_blobs.c.trial_id, trial_blobs.c.name, trial_blobs.c.sha)
            .join_from(trial_blobs, trials, trial_blobs.c.trial_id == trials.c.trial_id)
            .where(
                trials.c.study_id == study.study_id,
                trials.c.state == leases.TOLD,
                trial_blobs.c.name.startswith(names.FOLD),
                trial_blobs.c.trial_id.not_in(_best(connection, study, direction, keep)),
            )
        ).all()
        if weights:
            connection.execute(
                delete(trial_blobs).where(
                    trial_blobs.c.trial_id.in_({row.trial_id for row in weights}),
                    trial_blobs.c.name.startswith(names.FOLD),
                )
            )
        return [row.sha for row in weights]

    return forget(engine, transact(engine, verb))


def forget(engine: Engine, shas: Iterable[str]) -> int:
    """Delete those of the blobs that nothing names any more; returns how many."""
    wanted = sorted(set(shas))

    def verb(connection: Connection) -> int:
        return sum(drop(connection, sha) for sha in wanted)

    return transact(engine, verb) if wanted else 0


def tidy(engine: Engine, shas: Iterable[str]) -> None:
    """forget; what a database that is away keeps goes with the next `muster db gc`."""
    try:
        forget(engine, shas)
    except Unavailable as error:
        log.warning("blobs that nothing names are kept for now: %s", error)


def drop(connection: Connection, sha: str, *conditions: ColumnElement[bool]) -> bool:
    """Delete a blob that nothing names and that meets the conditions; whether it went."""
    unnamed = delete(blobs).where(blobs.c.sha == sha, *conditions, *nothing_names_it())
    if connection.execute(unnamed).rowcount != 1:
        return False
    connection.execute(delete(chunks).where(chunks.c.sha == sha))
    return True


def nothing_names_it() -> list[ColumnElement[bool]]:
    """Conditions on muster_blobs: no trial, artifact or dataset refers to the blob."""
    return [
        ~exists().where(table.c.sha == blobs.c.sha) for table in (trial_blobs, artifacts, datasets)
    ]


@remotable
def settle(engine: Engine, sha: str, *, size: int, digests: Sequence[str]) -> list[int]:
    """Positions of rows that are missing or damaged; with none of them the blob is whole.

    It counts as used just now, against the collector, which waits for this transaction's end.
    """
    return transact(engine, lambda connection: _settle(connection, sha, size, digests))


def _settle(connection: Connection, sha: str, size: int, digests: Sequence[str]) -> list[int]:
    header = {"sha": sha, "size": size, "is_whole": False, "used_at": clock()}
    records.upsert(connection, blobs, [header], keys=("sha",))
    rows = connection.execute(
        select(chunks.c.position, func.sha2(chunks.c.data, 256)).where(chunks.c.sha == sha)
    )
    held = {position: digest for position, digest in rows}
    wanting = [place for place, digest in enumerate(digests) if held.get(place) != digest]
    connection.execute(update(blobs).where(blobs.c.sha == sha).values(is_whole=not wanting))
    return wanting


@remotable
def write_chunk(engine: Engine, sha: str, position: int, data: bytes) -> bool:
    """Write a row of a blob; False where the blob was collected meanwhile."""
    part = {"sha": sha, "position": position, "data": data}
    return transact(engine, partial(_write, part=part))


def _write(connection: Connection, *, part: dict[str, Any]) -> bool:
    if connection.execute(_touched(part["sha"])).rowcount != 1:
        return False
    records.upsert(connection, chunks, [part], keys=("sha", "position"))
    return True


def _touched(sha: str) -> Update:
    return update(blobs).where(blobs.c.sha == sha).values(used_at=clock())


def _read(engine: Database, sha: str, between: Callable[[], object]) -> bytes | None:
    """Chunk by chunk, so that no answer is larger than one row."""
    if (size := size_of(engine, sha)) is None:
        return None
    parts = []
    for position in range(max(1, -(-size // CHUNK_BYTES))):
        between()
        parts.append(read_chunk(engine, sha, position))
    return b"".join(parts)


@remotable
def size_of(engine: Engine, sha: str) -> int | None:
    """How many bytes a blob has, None where it is not whole here."""
    query = select(blobs.c.size).where(blobs.c.sha == sha, blobs.c.is_whole.is_(True))
    return transact(engine, lambda connection: connection.execute(query).scalar(), read_only=True)


@remotable
def read_chunk(engine: Engine, sha: str, position: int) -> bytes:
    """A row of a blob, at most CHUNK_BYTES; empty where it is missing."""
    query = select(chunks.c.data).where(chunks.c.sha == sha, chunks.c.position == position)
    part: bytes | None = transact(
        engine, lambda connection: connection.execute(query).scalar(), read_only=True
    )
    return part or b""


def _best(connection: Connection, study: StudyKey, direction: str, keep: int) -> list[int]:
    value = optuna_values.c.value
    rows = connection.execute(
        select(optuna_trials.c.trial_id)
        .join_from(
            optuna_trials, optuna_values, optuna_trials.c.trial_id == optuna_values.c.trial_id
        )
        .where(
            optuna_trials.c.study_id == study.study_id,
            optuna_trials.c.state == TrialState.COMPLETE,
            value.is_not(None),
        )
        .order_by(records.best_first(direction), optuna_trials.c.trial_id)
        .limit(keep)
    )
    return [trial_id for (trial_id,) in rows]
