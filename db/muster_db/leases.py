"""Leases that ran out, and how a trial's row ends."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from optuna.trial import TrialState
from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    ScalarSelect,
    and_,
    delete,
    func,
    or_,
    select,
    update,
)

from muster_db import digest, names, records
from muster_db.clock import clock
from muster_db.tables import studies, trial_blobs, trials

# Claimed ahead by a worker that still trains another trial: its own until an idle one takes it.
RESERVED: Final = "reserved"
RUNNING: Final = "running"
EXPIRED: Final = "expired"
RELEASED: Final = "released"
TOLD: Final = "told"
# Whose token still counts: an expired lease can be taken back while nobody else has the trial.
HELD: Final = (RESERVED, RUNNING, EXPIRED)
TAKEABLE: Final = (EXPIRED, RELEASED)
ENDED: Final = (RELEASED, TOLD)
# Less than MySQL's TEXT holds, JSON's escapes included.
ERROR_CHARACTERS: Final = 8_000
# Of rows that were written before they kept it.
LEASE_SECONDS: Final = 60.0


@dataclass(frozen=True)
class Lapse:
    """What became of a trial that was left. state: the new one, None where it is not left.

    is_takeable: whether anybody may go on with it. dropped: SHA-256s for blobs.tidy.
    """

    state: str | None
    is_takeable: bool = False
    dropped: Sequence[str] = ()


def left(connection: Connection, study_id: int, *, only_due: bool = False) -> Sequence[Row[Any]]:
    """Rows of trials that nobody works on, by number, each for lapse: given back or run out.

    only_due: just those that lapse will change. A row has max_attempts and has_run_out as well.
    """
    has_run_out = trials.c.expires_at < clock()
    query = (
        select(trials, studies.c.max_attempts, has_run_out.label("has_run_out"))
        .join_from(trials, studies, trials.c.study_id == studies.c.study_id)
        .where(_is_due() if only_due else or_(trials.c.state.in_(TAKEABLE), _is_due()))
        .where(trials.c.study_id == study_id)
        .order_by(trials.c.number)
    )
    return connection.execute(query).all()


def begun(connection: Connection) -> Sequence[int]:
    """The studies that have trials which are claimed and not told.

    What is left of each is found by the index of states; of all at once, by reading all trials.
    """
    query = select(studies.c.study_id).where(studies.c.claimed > studies.c.told)
    return connection.execute(query.order_by(studies.c.study_id)).scalars().all()


def left_count(study_id: int) -> ScalarSelect[int]:
    """How many rows left would return, for a statement on muster_studies."""
    is_left = or_(trials.c.state.in_(TAKEABLE), _is_due())
    query = select(func.count()).select_from(trials).where(trials.c.study_id == study_id, is_left)
    return query.correlate(studies).scalar_subquery()


def _is_due() -> ColumnElement[bool]:
    """Whether lapse will change a trial's row, by its study's row."""
    is_last = trials.c.failures + 1 >= studies.c.max_attempts
    states = or_(trials.c.state.in_((RESERVED, RUNNING)), and_(trials.c.state == EXPIRED, is_last))
    return and_(trials.c.expires_at < clock(), states)


def reserved(connection: Connection, study_id: int) -> Sequence[Row[Any]]:
    """Rows of trials that were claimed ahead and have not begun, by number."""
    query = select(trials).where(trials.c.study_id == study_id, trials.c.state == RESERVED)
    return connection.execute(query.order_by(trials.c.number)).all()


def lapse(connection: Connection, row: Row[Any]) -> Lapse:
    """Move a row of left on by the database's clock: running, expired, told FAIL.

    A lease that ran out is no failure yet: it becomes one when somebody takes the trial over.
    Nobody takes over a last attempt; its worker has one more lease, from here on, to come back.
    An attempt that never began is given back.
    """
    is_last = row.failures + 1 >= row.max_attempts
    if row.state == RESERVED:
        # It has had no attempt yet.
        is_back = _move(connection, row, state=RELEASED, attempt=row.attempt - 1)
        return Lapse(RELEASED, is_takeable=True) if is_back else Lapse(None)
    if row.has_run_out and row.state == RUNNING:
        grace = clock(row.lease_seconds or LEASE_SECONDS)
        if not _move(connection, row, state=EXPIRED, expires_at=grace):
            return Lapse(None)
        records.set_state(connection, row.trial_id, TrialState.WAITING)
        mark_changed(connection, row.study_id, row.trial_id)
        return Lapse(EXPIRED, is_takeable=not is_last)
    if row.has_run_out and row.state == EXPIRED and is_last:
        # The token goes: its worker must not take this end for its own.
        values = {"state": TOLD, "failures": row.failures + 1, "token": uuid.uuid4().hex}
        if not _move(connection, row, **values):
            return Lapse(None)
        error = f"the lease of attempt {row.attempt} ran out: its worker died or was cut off"
        if row.error:
            error = f"{error}; the attempt before: {row.error}"
        return Lapse(TOLD, dropped=fail(connection, row.study_id, row.trial_id, error=error))
    return Lapse(row.state, is_takeable=row.state == RELEASED or not is_last)


def release_all(connection: Connection, worker_ids: Sequence[int]) -> int:
    """Take all that these workers hold from them, for others to go on with; how many trials."""
    held = select(trials).where(trials.c.worker_id.in_(worker_ids), trials.c.state.in_(HELD))
    rows = connection.execute(held.order_by(trials.c.trial_id).with_for_update()).all()
    for row in rows:
        # One that never began has had no attempt.
        attempt = row.attempt - 1 if row.state == RESERVED else row.attempt
        connection.execute(
            update(trials)
            .where(trials.c.trial_id == row.trial_id)
            .values(state=RELEASED, attempt=attempt, token=uuid.uuid4().hex)
        )
        records.set_state(connection, row.trial_id, TrialState.WAITING)
        mark_changed(connection, row.study_id, row.trial_id)
    return len(rows)


def fail(connection: Connection, study_id: int, trial_id: int, *, error: str) -> list[str]:
    """Show a trial whose row is TOLD already as FAIL with its error; else as finish."""
    return finish(
        connection,
        study_id,
        trial_id,
        state=TrialState.FAIL,
        value=None,
        attributes={"error": error[-ERROR_CHARACTERS:]},
    )


def finish(
    connection: Connection,
    study_id: int,
    trial_id: int,
    *,
    state: TrialState,
    value: float | None,
    attributes: Mapping[str, Any],
    curve: Mapping[int, float] | None = None,
) -> list[str]:
    """Write the end of a trial whose row is TOLD already; returns SHA-256s for blobs.tidy.

    They are of its checkpoints, which it does not name any more. curve: all its reports, where
    nothing was stored of the trial before; else what was stored is looked up.
    """
    dropped = [] if curve is not None else _drop_checkpoints(connection, trial_id)
    if curve is None:
        curve = records.read_reports(connection, [trial_id])[trial_id]
    records.finish(connection, trial_id, state=state, value=value, attributes=attributes)
    outcome = digest.of_outcome(state, value, curve)
    mark_changed(connection, study_id, trial_id, told=1, outcome=outcome)
    return dropped


def _drop_checkpoints(connection: Connection, trial_id: int) -> list[str]:
    of_checkpoints = and_(
        trial_blobs.c.trial_id == trial_id, trial_blobs.c.name.startswith(names.CHECKPOINT)
    )
    dropped = connection.execute(select(trial_blobs.c.sha).where(of_checkpoints)).scalars().all()
    if dropped:
        connection.execute(delete(trial_blobs).where(of_checkpoints))
    return list(dropped)


def mark_changed(
    connection: Connection, study_id: int, trial_id: int, *, told: int = 0, **values: Any
) -> None:
    """Give the trial the study's next revision; last in a transaction, for it locks the study.

    values: what else to set in its row.
    """
    connection.execute(
        update(studies)
        .where(studies.c.study_id == study_id)
        .values(revision=studies.c.revision + 1, told=studies.c.told + told)
    )
    revision = select(studies.c.revision).where(studies.c.study_id == study_id)
    connection.execute(
        update(trials)
        .where(trials.c.trial_id == trial_id)
        .values(revision=revision.scalar_subquery(), **values)
    )


def failures_of(connection: Connection, trial_id: int) -> tuple[int, int]:
    """Failed attempts of a trial so far, and how many its study allows."""
    row = connection.execute(
        select(trials.c.failures, studies.c.max_attempts)
        .join_from(trials, studies, trials.c.study_id == studies.c.study_id)
        .where(trials.c.trial_id == trial_id)
    ).one_or_none()
    return (0, 1) if row is None else (row.failures, row.max_attempts)


def _move(connection: Connection, row: Row[Any], **values: Any) -> bool:
    """Change a row that has run out; False where it was extended, taken or moved meanwhile."""
    changed = connection.execute(
        update(trials)
        .where(
            trials.c.trial_id == row.trial_id,
            trials.c.token == row.token,
            trials.c.state == row.state,
            trials.c.expires_at < clock(),
        )
        .values(**values)
    ).rowcount
    return changed == 1
