"""Blobs in the database: cut into rows, named by their SHA-256, checked on reading."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable

from optuna.trial import TrialState
from sqlalchemy import ColumnElement, Connection, Engine, delete, exists, select, update

from muster.errors import UserError
from muster_db import records
from muster_db.clock import clock
from muster_db.engine import transact
from muster_db.study import Study
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


class DamagedBlob(UserError):
    """The blob store holds other bytes than the name says, or lacks some."""


def put(engine: Engine, data: bytes) -> str:
    """Store bytes, a transaction for each 512 KiB; returns their SHA-256."""
    sha = hashlib.sha256(data).hexdigest()
    if transact(engine, lambda connection: _touch(connection, sha)):
        return sha
    pieces = [data[start : start + CHUNK_BYTES] for start in range(0, len(data), CHUNK_BYTES)]
    for position, piece in enumerate(pieces or [b""]):
        is_last = position + 1 >= len(pieces)

        def verb(
            connection: Connection,
            position: int = position,
            piece: bytes = piece,
            is_last: bool = is_last,
        ) -> None:
            row = {"sha": sha, "size": len(data), "is_whole": is_last, "used_at": clock()}
            records.upsert(connection, blobs, [row], keys=("sha",))
            part = {"sha": sha, "position": position, "data": piece}
            records.upsert(connection, chunks, [part], keys=("sha", "position"))

        transact(engine, verb)
    return sha


def get(engine: Engine, sha: str) -> bytes:
    """The bytes of that SHA-256; raises DamagedBlob when they are missing or differ."""
    data = _read(engine, sha)
    if data is None:
        raise DamagedBlob(f"blob {sha}: not in this database; it was collected or never stored")
    if hashlib.sha256(data).hexdigest() != sha:
        raise DamagedBlob(f"blob {sha}: its bytes are damaged in the database; restore a backup")
    return data


def keep_best_weights(engine: Engine, study: Study, *, keep: int) -> int:
    """Drop the fold weights of all told trials but the best keep; returns how many blobs went."""

    def verb(connection: Connection) -> list[str]:
        weights = connection.execute(
            select(trial_blobs.c.trial_id, trial_blobs.c.name, trial_blobs.c.sha)
            .join_from(trial_blobs, trials, trial_blobs.c.trial_id == trials.c.trial_id)
            .where(
                trials.c.study_id == study.study_id,
                trials.c.state == "told",
                trial_blobs.c.name.like("fold%"),
                trial_blobs.c.trial_id.not_in(_best(connection, study, keep)),
            )
        ).all()
        if weights:
            connection.execute(
                delete(trial_blobs).where(
                    trial_blobs.c.trial_id.in_({row.trial_id for row in weights}),
                    trial_blobs.c.name.like("fold%"),
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


def _touch(connection: Connection, sha: str) -> bool:
    """Whether the blob is there already; it counts as used just now, against the collector."""
    touched = update(blobs).where(blobs.c.sha == sha, blobs.c.is_whole.is_(True))
    return connection.execute(touched.values(used_at=clock())).rowcount == 1


def _read(engine: Engine, sha: str) -> bytes | None:
    """Chunk by chunk, so that no answer is larger than one row."""
    header = transact(
        engine,
        lambda connection: connection.execute(
            select(blobs.c.size).where(blobs.c.sha == sha, blobs.c.is_whole.is_(True))
        ).scalar(),
        read_only=True,
    )
    if header is None:
        return None
    count = max(1, -(-header // CHUNK_BYTES))
    parts = [_read_chunk(engine, sha, position) for position in range(count)]
    return b"".join(parts)


def _read_chunk(engine: Engine, sha: str, position: int) -> bytes:
    query = select(chunks.c.data).where(chunks.c.sha == sha, chunks.c.position == position)
    part: bytes | None = transact(
        engine, lambda connection: connection.execute(query).scalar(), read_only=True
    )
    return part or b""


def _best(connection: Connection, study: Study, keep: int) -> list[int]:
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
        .order_by(
            value.desc() if study.contract.direction == "maximize" else value,
            optuna_trials.c.trial_id,
        )
        .limit(keep)
    )
    return [trial_id for (trial_id,) in rows]
