"""Leases that ran out, and how a trial's row ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from optuna.trial import TrialState
from sqlalchemy import Connection, Row, and_, delete, or_, select, update

from muster_db import records
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
# Names of blobs that only a trial that runs needs begin so.
CHECKPOINT: Final = "checkpoint"
# Less than MySQL's TEXT holds, JSON's escapes included.
ERROR_CHARACTERS: Final = 8_000


def left(
    connection: Connection, study_id: int | None, *, only_expired: bool = False
) -> Sequence[Row[Any]]:
    """Rows of trials that nobody works on: released ones and those whose lease ran out."""
    has_run_out = and_(trials.c.state.in_((RESERVED, RUNNING)), trials.c.expires_at < clock())
    is_left = has_run_out if only_expired else or_(trials.c.state.in_(TAKEABLE), has_run_out)
    query = select(trials).where(is_left).order_by(trials.c.number)
    if study_id is not None:
        query = query.where(trials.c.study_id == study_id)
    return connection.execute(query).all()


def reserved(connection: Connection, study_id: int) -> Sequence[Row[Any]]:
    """Rows of trials that were claimed ahead and have not begun, by number."""
    query = select(trials).where(trials.c.study_id == study_id, trials.c.state == RESERVED)
    return connection.execute(query.order_by(trials.c.number)).all()


def expire(connection: Connection, row: Row[Any]) -> str | None:
    """End an attempt whose lease ran out; the trial's new state, None where it was extended.

    One that never began is no failure.
    """
    if row.state == RESERVED:
        return RELEASED if _run_out(connection, row, state=RELEASED) else None
    failures, max_attempts = failures_of(connection, row.trial_id)
    is_last = failures + 1 >= max_attempts
    state = TOLD if is_last else EXPIRED
    if not _run_out(connection, row, state=state, failures=failures + 1):
        return None
    error = f"the lease of attempt {row.attempt} ran out: its worker died or was cut off"
    if row.error:
        error = f"{error}; the attempt before: {row.error}"
    fail(connection, row.study_id, row.trial_id, is_last=is_last, error=error)
    return state


def _run_out(connection: Connection, row: Row[Any], **values: Any) -> bool:
    """Change a row whose lease ran out; False where it was extended or taken meanwhile."""
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


def fail(
    connection: Connection, study_id: int, trial_id: int, *, is_last: bool, error: str
) -> None:
    """Show a failed attempt to Optuna: FAIL with the error after the last, else WAITING."""
    if is_last:
        finish(
            connection,
            study_id,
            trial_id,
            state=TrialState.FAIL,
            value=None,
            attributes={"error": error[-ERROR_CHARACTERS:]},
        )
        return
    records.set_state(connection, trial_id, TrialState.WAITING)
    mark_changed(connection, study_id, trial_id)


def finish(
    connection: Connection,
    study_id: int,
    trial_id: int,
    *,
    state: TrialState,
    value: float | None,
    attributes: Mapping[str, Any],
) -> None:
    """Write the end of a trial whose row is TOLD already; its checkpoints are dropped."""
    connection.execute(
        delete(trial_blobs).where(
            trial_blobs.c.trial_id == trial_id, trial_blobs.c.name.startswith(CHECKPOINT)
        )
    )
    records.finish(connection, trial_id, state=state, value=value, attributes=attributes)
    mark_changed(connection, study_id, trial_id, told=1)


def mark_changed(connection: Connection, study_id: int, trial_id: int, *, told: int = 0) -> None:
    """Give the trial the study's next revision; last in a transaction, for it locks the study."""
    connection.execute(
        update(studies)
        .where(studies.c.study_id == study_id)
        .values(revision=studies.c.revision + 1, told=studies.c.told + told)
    )
    revision = select(studies.c.revision).where(studies.c.study_id == study_id)
    connection.execute(
        update(trials)
        .where(trials.c.trial_id == trial_id)
        .values(revision=revision.scalar_subquery())
    )


def failures_of(connection: Connection, trial_id: int) -> tuple[int, int]:
    """Failed attempts of a trial so far, and how many its study allows."""
    row = connection.execute(
        select(trials.c.failures, studies.c.max_attempts)
        .join_from(trials, studies, trials.c.study_id == studies.c.study_id)
        .where(trials.c.trial_id == trial_id)
    ).one_or_none()
    return (0, 1) if row is None else (row.failures, row.max_attempts)
