"""Trials under a lease: claimed, extended, reported on, given back, told exactly once.

Every verb is one short transaction that checks the lease's token first. Rows are locked in one
order, the trial's before the study's, so that verbs wait for each other but do not deadlock.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any

from optuna.trial import TrialState
from sqlalchemy import Connection, Engine, select, update

from muster.errors import LeaseLost, Unavailable, UserError
from muster_db import blobs as store
from muster_db import leases, records
from muster_db.claims import Claim, claim
from muster_db.clock import clock
from muster_db.engine import transact
from muster_db.study import Study
from muster_db.tables import trial_blobs, trials

log = logging.getLogger(__name__)

__all__ = [
    "Claim", "attach", "begin", "blob_names", "claim", "extend", "fail_attempt", "reap", "release",
    "report", "tell",
]  # fmt: skip


def extend(engine: Engine, held: Claim) -> None:
    """Move the lease's end to now plus its length, by the database's clock.

    An expired lease is taken back while nobody else has claimed the trial. Raises LeaseLost.
    """

    transact(engine, lambda connection: _keep(connection, held))


def report(engine: Engine, held: Claim, values: Sequence[tuple[int, float]]) -> None:
    """Store intermediate values, (step, value) each, and extend the lease. Raises LeaseLost."""

    def verb(connection: Connection) -> None:
        _keep(connection, held)
        records.write_reports(connection, held.trial_id, values)

    transact(engine, verb)


def attach(engine: Engine, held: Claim, blobs: Mapping[str, str]) -> None:
    """Name blobs of the trial, name to SHA-256; what bore a name before is dropped.

    Raises LeaseLost.
    """

    def verb(connection: Connection) -> list[str]:
        _keep(connection, held)
        return _replace_blobs(connection, held.trial_id, blobs)

    _forget(engine, held, transact(engine, verb))


def begin(engine: Engine, held: Claim) -> None:
    """Begin a trial that was claimed ahead. Raises LeaseLost where another worker took it."""

    def verb(connection: Connection) -> None:
        end = clock(held.lease_seconds)
        if not _change(connection, held, (leases.RESERVED,), state=leases.RUNNING, expires_at=end):
            # An earlier try may have begun it already.
            _keep(connection, held)
        records.begin(connection, held.trial_id)

    transact(engine, verb)


def release(
    engine: Engine,
    held: Claim,
    *,
    reports: Sequence[tuple[int, float]] = (),
    blobs: Mapping[str, str] | None = None,
) -> None:
    """Give the trial back, so that the next claim continues it at once. Raises LeaseLost.

    reports, blobs: the last to be stored with it.
    """
    tries = count()

    def verb(connection: Connection) -> list[str]:
        if not _end(connection, held, leases.RELEASED, is_retry=next(tries) > 0):
            return []
        records.write_reports(connection, held.trial_id, reports)
        replaced = _replace_blobs(connection, held.trial_id, blobs or {})
        records.set_state(connection, held.trial_id, TrialState.WAITING)
        leases.mark_changed(connection, held.study_id, held.trial_id)
        return replaced

    _forget(engine, held, transact(engine, verb))


def tell(
    engine: Engine,
    held: Claim,
    *,
    state: TrialState,
    value: float | None,
    attributes: Mapping[str, Any],
    blobs: Mapping[str, str],
    reports: Sequence[tuple[int, float]] = (),
) -> None:
    """Finish the trial, once: COMPLETE, PRUNED or FAIL with its value, attributes and blobs.

    blobs: name to SHA-256 of what is in the blob store; checkpoints are dropped. reports: the
    last intermediate values, (step, value) each. Raises LeaseLost, and then nothing is changed.
    """
    if not state.is_finished():
        raise ValueError(f"{state} does not finish a trial")
    if state == TrialState.COMPLETE and not records.is_number(value):
        raise UserError(f"trial {held.number}: COMPLETE needs a number as its value, not {value}")
    tries = count()

    def verb(connection: Connection) -> list[str]:
        if not _end(connection, held, leases.TOLD, is_retry=next(tries) > 0):
            return []
        records.write_reports(connection, held.trial_id, reports)
        known = _blobs_of(connection, held.trial_id)
        _name_blobs(connection, held.trial_id, blobs)
        leases.finish(
            connection,
            held.study_id,
            held.trial_id,
            state=state,
            value=value,
            attributes=attributes,
        )
        return [sha for name, sha in known.items() if name.startswith(leases.CHECKPOINT)]

    _forget(engine, held, transact(engine, verb))


def fail_attempt(engine: Engine, held: Claim, error: str) -> bool:
    """Note a failed attempt: the trial is released, or told FAIL after the study's last one.

    error: a traceback, kept on the trial. Returns whether it was told. Raises LeaseLost.
    """
    tries = count()

    def verb(connection: Connection) -> bool:
        if next(tries) > 0 and (state := _row_state(connection, held)) in leases.ENDED:
            return state == leases.TOLD
        failures, max_attempts = leases.failures_of(connection, held.trial_id)
        is_last = failures + 1 >= max_attempts
        _hold(
            connection,
            held,
            state=leases.TOLD if is_last else leases.RELEASED,
            failures=failures + 1,
            error=error,
        )
        leases.fail(connection, held.study_id, held.trial_id, is_last=is_last, error=error)
        return is_last

    return transact(engine, verb)


def reap(engine: Engine, study: Study | None = None) -> int:
    """Release every trial whose lease has run out, of one study or all; returns how many.

    One that has run out of attempts is told FAIL.
    """
    study_id = None if study is None else study.study_id

    def verb(connection: Connection) -> int:
        rows = leases.left(connection, study_id, only_expired=True)
        return sum(leases.expire(connection, row) is not None for row in rows)

    return transact(engine, verb)


def blob_names(engine: Engine, trial_id: int) -> dict[str, str]:
    """The trial's blobs: name to SHA-256."""
    return transact(engine, lambda connection: _blobs_of(connection, trial_id), read_only=True)


def _forget(engine: Engine, held: Claim, checkpoints: Sequence[str]) -> None:
    """Drop blobs that the trial names no more."""
    try:
        store.forget(engine, checkpoints)
    except Unavailable as error:
        # The verb itself is done; what is left here goes with the next `muster db gc`.
        log.warning("checkpoints of trial %s are kept for now: %s", held.number, error)


def _keep(connection: Connection, held: Claim) -> None:
    """Extend the lease; one that had expired is taken back, and was no failure then."""
    end = clock(held.lease_seconds)
    if _change(connection, held, (leases.RESERVED, leases.RUNNING), expires_at=end):
        return
    _hold(connection, held, state=leases.RUNNING, expires_at=end, failures=trials.c.failures - 1)
    records.set_state(connection, held.trial_id, TrialState.RUNNING)


def _end(connection: Connection, held: Claim, state: str, *, is_retry: bool) -> bool:
    """Move a held trial to a state that ends the attempt; False where an earlier run did."""
    if is_retry and _row_state(connection, held) == state:
        return False
    _hold(connection, held, state=state)
    return True


def _hold(connection: Connection, held: Claim, **values: Any) -> None:
    """Change the trial's row, which locks it until the commit; LeaseLost where it is not ours."""
    if not _change(connection, held, leases.HELD, **values):
        raise LeaseLost(f"trial {held.number}: the lease of attempt {held.attempt} is gone")


def _change(connection: Connection, held: Claim, states: tuple[str, ...], **values: Any) -> bool:
    changed = connection.execute(
        update(trials)
        .where(
            trials.c.trial_id == held.trial_id,
            trials.c.token == held.token,
            trials.c.state.in_(states),
        )
        .values(**values)
    ).rowcount
    return changed == 1


def _row_state(connection: Connection, held: Claim) -> str | None:
    """The trial's state while the token is still ours."""
    state: str | None = connection.execute(
        select(trials.c.state).where(
            trials.c.trial_id == held.trial_id, trials.c.token == held.token
        )
    ).scalar()
    return state


def _blobs_of(connection: Connection, trial_id: int) -> dict[str, str]:
    rows = connection.execute(
        select(trial_blobs.c.name, trial_blobs.c.sha).where(trial_blobs.c.trial_id == trial_id)
    )
    return {name: sha for name, sha in rows}


def _replace_blobs(connection: Connection, trial_id: int, blobs: Mapping[str, str]) -> list[str]:
    """Name blobs of the trial; returns those whose name another one has now."""
    if not blobs:
        return []
    known = _blobs_of(connection, trial_id)
    _name_blobs(connection, trial_id, blobs)
    return [known[name] for name in blobs if name in known and known[name] != blobs[name]]


def _name_blobs(connection: Connection, trial_id: int, blobs: Mapping[str, str]) -> None:
    rows = [{"trial_id": trial_id, "name": name, "sha": sha} for name, sha in blobs.items()]
    records.upsert(connection, trial_blobs, rows, keys=("trial_id", "name"))
