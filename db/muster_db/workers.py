"""Workers that have joined a study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, ScalarSelect, case, func, insert, select, text, update

from muster_db import leases
from muster_db.clock import clock
from muster_db.database import remotable
from muster_db.engine import transact
from muster_db.once import once
from muster_db.progress import study_row
from muster_db.records import inserted_id
from muster_db.study import Study, StudyKey
from muster_db.tables import studies, trials, workers

TEXT_CHARACTERS = 255


@dataclass(frozen=True)
class Worker:
    """A worker in a study. ordinal: 0 for the first that ever joined it, 1 for the second."""

    worker_id: int
    study_id: int
    ordinal: int
    host: str
    device: str


@dataclass(frozen=True)
class Equipment:
    """What a worker found on its machine; None: not measured, or not yet.

    slot: its number, where its machine trains several trials at once. memory_bytes: all memory of
    the device that it trains on. steps_per_second: training steps of a small network, by a probe.
    round_trip_seconds: to the database and back.
    """

    slot: int | None = None
    memory_bytes: int | None = None
    steps_per_second: float | None = None
    round_trip_seconds: float | None = None


UNKNOWN = Equipment()


@dataclass(frozen=True)
class Pace:
    """Epochs that a worker has trained for a study, and how many a second of late."""

    epochs: int
    epochs_per_second: float | None


@dataclass(frozen=True)
class WorkerActivity:
    """What a worker did. Times are naive UTC.

    told: trials that it finished; failed: attempts that failed on it with an error. An attempt
    whose worker died, or was cut off, says nothing of the trial and is no failure here. pace: as
    of seen_at.
    """

    worker: Worker
    joined_at: datetime
    seen_at: datetime
    left_at: datetime | None
    told: int
    running: int
    failed: int
    equipment: Equipment
    pace: Pace


@remotable
def register(
    engine: Engine,
    study: StudyKey,
    *,
    host: str,
    device: str,
    equipment: Equipment = UNKNOWN,
    token: str | None = None,
) -> Worker:
    """Join a study under its next ordinal. Raises UserError when the study was deleted.

    token: names this call; repeating it with the same one joins once.
    """

    def verb(connection: Connection) -> Sequence[int]:
        connection.execute(
            update(studies)
            .where(studies.c.study_id == study.study_id)
            .values(joined=studies.c.joined + 1)
        )
        ordinal = study_row(connection, study).joined - 1
        result = connection.execute(
            insert(workers).values(
                study_id=study.study_id,
                ordinal=ordinal,
                host=host[:TEXT_CHARACTERS],
                device=device[:TEXT_CHARACTERS],
                joined_at=clock(),
                seen_at=clock(),
                failures=0,
                epochs=0,
                **asdict(equipment),
                **_origin(connection),
            )
        )
        return inserted_id(result), ordinal

    worker_id, ordinal = once(engine, verb, token=token)
    return Worker(worker_id, study.study_id, ordinal, host, device)


@remotable
def leave(engine: Engine, worker: Worker, *, pace: Pace | None = None) -> None:
    """Note that the worker has left, and what it has trained."""

    def verb(connection: Connection) -> None:
        touch(connection, worker.worker_id, pace=pace)
        left = update(workers).where(workers.c.worker_id == worker.worker_id)
        connection.execute(left.values(left_at=clock()))

    transact(engine, verb)


@remotable
def describe(engine: Engine, worker: Worker, equipment: Equipment) -> None:
    """Note what the worker has found out about its machine since it joined."""
    found = update(workers).where(workers.c.worker_id == worker.worker_id)
    transact(engine, lambda connection: connection.execute(found.values(**asdict(equipment))))


def touch(
    connection: Connection, worker_id: int | ScalarSelect[Any], *, pace: Pace | None = None
) -> None:
    """Note that the worker is alive, and how quickly it trains."""
    seen = update(workers).where(workers.c.worker_id == worker_id)
    said = {} if pace is None else asdict(pace)
    connection.execute(seen.values(seen_at=clock(), **said))


def count_failure(connection: Connection, worker_id: int | ScalarSelect[Any]) -> None:
    """Note that an attempt failed on the worker."""
    failures = func.coalesce(workers.c.failures, 0) + 1
    connection.execute(
        update(workers).where(workers.c.worker_id == worker_id).values(failures=failures)
    )


@remotable
def has_failed_elsewhere(engine: Engine, worker: Worker) -> bool:
    """Whether an attempt failed on another worker of the study as well.

    Where none did, one after another that fails here is this machine's fault.
    """
    query = select(workers.c.worker_id).where(
        workers.c.study_id == worker.study_id,
        workers.c.worker_id != worker.worker_id,
        workers.c.failures > 0,
    )
    found = transact(
        engine, lambda connection: connection.execute(query.limit(1)).first(), read_only=True
    )
    return found is not None


def list_workers(engine: Engine, study: Study) -> list[WorkerActivity]:
    """The workers of a study by ordinal, with what each told and holds."""
    is_told = trials.c.state == leases.TOLD
    is_running = trials.c.state == leases.RUNNING
    query = (
        select(
            workers,
            func.count(case((is_told, 1))).label("told"),
            func.count(case((is_running, 1))).label("running"),
        )
        .outerjoin_from(workers, trials, workers.c.worker_id == trials.c.worker_id)
        .where(workers.c.study_id == study.study_id)
        .group_by(*workers.c)
        .order_by(workers.c.ordinal)
    )
    rows = transact(engine, lambda connection: connection.execute(query).all(), read_only=True)
    return [
        WorkerActivity(
            Worker(row.worker_id, row.study_id, row.ordinal, row.host, row.device),
            row.joined_at,
            row.seen_at,
            row.left_at,
            row.told,
            row.running,
            row.failures or 0,
            Equipment(row.slot, row.memory_bytes, row.steps_per_second, row.round_trip_seconds),
            Pace(row.epochs or 0, row.epochs_per_second),
        )
        for row in rows
    ]


def _origin(connection: Connection) -> dict[str, Any]:
    """As whom and from where this connection came, as the server sees it."""
    if connection.dialect.name == "sqlite":
        return {}
    return {
        "account": text("SUBSTRING_INDEX(USER(), '@', 1)"),
        "address": text("SUBSTRING_INDEX(USER(), '@', -1)"),
    }
