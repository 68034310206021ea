"""Workers that have joined a study."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Engine, case, func, insert, select, update

from muster_db.clock import clock
from muster_db.engine import transact
from muster_db.records import inserted_id
from muster_db.study import Study, study_row
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
class WorkerActivity:
    """What a worker did. Times are naive UTC.

    told: trials that it finished; failed: those of its trials that had a failed attempt.
    """

    worker: Worker
    joined_at: datetime
    seen_at: datetime
    left_at: datetime | None
    told: int
    running: int
    failed: int


def register(engine: Engine, study: Study, *, host: str, device: str) -> Worker:
    """Join a study under its next ordinal. Raises UserError when the study was deleted."""

    def verb(connection: Connection) -> Worker:
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
            )
        )
        return Worker(inserted_id(result), study.study_id, ordinal, host, device)

    return transact(engine, verb)


def beat(engine: Engine, worker: Worker) -> None:
    """Note that the worker is alive."""
    transact(engine, lambda connection: _set(connection, worker, is_leaving=False))


def leave(engine: Engine, worker: Worker) -> None:
    """Note that the worker has left."""
    transact(engine, lambda connection: _set(connection, worker, is_leaving=True))


def list_workers(engine: Engine, study: Study) -> list[WorkerActivity]:
    """The workers of a study by ordinal, with what each told and holds."""
    is_told = trials.c.state == "told"
    is_running = trials.c.state == "running"
    query = (
        select(
            workers,
            func.count(case((is_told, 1))).label("told"),
            func.count(case((is_running, 1))).label("running"),
            func.count(case((trials.c.failures > 0, 1))).label("failed"),
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
            row.failed,
        )
        for row in rows
    ]


def _set(connection: Connection, worker: Worker, *, is_leaving: bool) -> None:
    values = {"seen_at": clock()} | ({"left_at": clock()} if is_leaving else {})
    connection.execute(
        update(workers).where(workers.c.worker_id == worker.worker_id).values(**values)
    )
