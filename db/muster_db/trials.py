"""Trials under a lease: claimed, extended, reported on, given back, told exactly once.

Every verb is one short transaction that checks the lease's token first. Rows are locked in one
order, the trial's before the study's, so that verbs wait for each other but do not deadlock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from optuna.trial import TrialState
from sqlalchemy import Connection, Engine, Row, ScalarSelect, select, update

from muster.errors import LeaseLost, NotAllowed, UserError
from muster_db import blobs as store
from muster_db import digest, leases, records, workers
from muster_db.claims import Claim
from muster_db.clock import clock
from muster_db.database import remotable
from muster_db.engine import transact
from muster_db.records import Proposal
from muster_db.study import StudyKey
from muster_db.tables import optuna_trials, trial_blobs, trials


@remotable
def extend(engine: Engine, held: Claim, *, pace: workers.Pace | None = None) -> None:
    """Move the lease's end to now plus its length, by the database's clock.

    An expired lease is taken back while nobody else has claimed the trial. Raises LeaseLost.
    The worker counts as seen just now; pace: how quickly it trains.
    """

    def verb(connection: Connection) -> None:
        _keep(connection, held)
        workers.touch(connection, _worker_of(held), pace=pace)

    transact(engine, verb)


@remotable
def report(engine: Engine, held: Claim, values: Sequence[tuple[int, float]]) -> None:
    """Store intermediate values, (step, value) each, and extend the lease. Raises LeaseLost."""

    def verb(connection: Connection) -> None:
        _keep(connection, held)
        records.write_reports(connection, held.trial_id, values)

    transact(engine, verb)


@remotable
def attach(engine: Engine, held: Claim, blobs: Mapping[str, str]) -> None:
    """Name blobs of the trial, name to SHA-256; what bore a name before is dropped.

    Raises LeaseLost.
    """

    def verb(connection: Connection) -> list[str]:
        _keep(connection, held)
        return _replace_blobs(connection, held.trial_id, blobs)

    store.tidy(engine, transact(engine, verb))


@remotable
def begin(engine: Engine, held: Claim, *, redrawn: Proposal | None = None) -> None:
    """Begin a trial that was claimed ahead.

    redrawn: the configuration that it has by now, drawn from later news than the one it was
    claimed with. Raises LeaseLost where another worker took the trial, or has that configuration;
    then nothing is changed.
    """

    def verb(connection: Connection) -> None:
        begun: dict[str, Any] = {"state": leases.RUNNING, "expires_at": clock(held.lease_seconds)}
        if redrawn is not None:
            begun |= {
                "params_hash": redrawn.hash,
                "params": digest.of_params(redrawn.params, redrawn.distributions),
            }
        if not _change(connection, held, (leases.RESERVED,), **begun):
            # An earlier try may have begun it already.
            _keep(connection, held)
            return
        records.begin(connection, held.trial_id)
        if redrawn is not None:
            records.replace_params(connection, held.trial_id, redrawn)
        leases.mark_changed(connection, held.study_id, held.trial_id)
        # The study's row is locked from here to the commit: nobody else begins the same meanwhile.
        is_unsure = redrawn is not None and redrawn.may_recur
        if redrawn is not None and is_unsure and _is_elsewhere(connection, held, redrawn):
            raise LeaseLost(f"trial {held.number}: another worker has its configuration")

    transact(engine, verb)


@remotable
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
    dropped: list[str] = []

    def verb(connection: Connection) -> None:
        # One that never began has had no attempt.
        unbegun = {"state": leases.RELEASED, "attempt": held.attempt - 1}
        if not _change(connection, held, (leases.RESERVED,), **unbegun) and not _change(
            connection, held, leases.HELD, state=leases.RELEASED
        ):
            if _own_end(connection, held) == leases.RELEASED:
                return
            raise _lost(held)
        records.write_reports(connection, held.trial_id, reports)
        dropped.extend(_replace_blobs(connection, held.trial_id, blobs or {}))
        records.set_state(connection, held.trial_id, TrialState.WAITING)
        leases.mark_changed(connection, held.study_id, held.trial_id)

    transact(engine, verb)
    store.tidy(engine, dropped)


@remotable
def tell(
    engine: Engine,
    held: Claim,
    *,
    state: TrialState,
    value: float | None,
    attributes: Mapping[str, Any],
    blobs: Mapping[str, str],
    reports: Sequence[tuple[int, float]] = (),
    is_first_news: bool = False,
) -> None:
    """Finish the trial, once: COMPLETE, PRUNED or FAIL with its value, attributes and blobs.

    blobs: name to SHA-256 of what is in the blob store; checkpoints are dropped. reports: the
    last intermediate values, (step, value) each; is_first_news: that no report and no checkpoint
    of the trial was stored before, which spares looking for them. Telling the same again changes
    nothing. Raises LeaseLost, and then nothing is changed.
    """
    if not state.is_finished():
        raise ValueError(f"{state} does not finish a trial")
    if state == TrialState.COMPLETE and not records.is_number(value):
        raise UserError(f"trial {held.number}: COMPLETE needs a number as its value, not {value}")
    dropped: list[str] = []

    def verb(connection: Connection) -> None:
        if not _change(connection, held, leases.HELD, state=leases.TOLD):
            if _is_told(connection, held, state, value):
                return
            raise _lost(held)
        records.write_reports(connection, held.trial_id, reports)
        _name_blobs(connection, held.trial_id, blobs)
        dropped.extend(
            leases.finish(
                connection,
                held.study_id,
                held.trial_id,
                state=state,
                value=value,
                attributes=attributes,
                curve=dict(reports) if is_first_news else None,
            )
        )

    transact(engine, verb)
    store.tidy(engine, dropped)


@remotable
def fail_attempt(engine: Engine, held: Claim, error: str) -> bool:
    """Note a failed attempt: the trial is released, or told FAIL after the study's last one.

    error: a traceback, kept on the trial. Returns whether it was told. Raises LeaseLost.
    """
    dropped: list[str] = []

    def verb(connection: Connection) -> bool:
        failures, max_attempts = leases.failures_of(connection, held.trial_id)
        is_last = failures + 1 >= max_attempts
        if not _change(
            connection,
            held,
            leases.HELD,
            state=leases.TOLD if is_last else leases.RELEASED,
            failures=failures + 1,
            failed_by=trials.c.worker_id,
            error=error,
        ):
            if (end := _own_end(connection, held, error=error)) is None:
                raise _lost(held)
            return end == leases.TOLD
        workers.count_failure(connection, _worker_of(held))
        if is_last:
            dropped.extend(leases.fail(connection, held.study_id, held.trial_id, error=error))
        else:
            records.set_state(connection, held.trial_id, TrialState.WAITING)
            leases.mark_changed(connection, held.study_id, held.trial_id)
        return is_last

    is_told = transact(engine, verb)
    store.tidy(engine, dropped)
    return is_told


@remotable
def reap(engine: Engine, study: StudyKey | None = None) -> int:
    """Move on every trial whose lease has run out, of one study or all; returns how many.

    Each is free for the next claim; a last attempt whose worker did not come back within one more
    lease is told FAIL.
    """
    dropped: list[str] = []

    def read(connection: Connection) -> list[Row[Any]]:
        ids = leases.begun(connection) if study is None else [study.study_id]
        return [row for each in ids for row in leases.left(connection, each, only_due=True)]

    def move(connection: Connection, row: Row[Any]) -> bool:
        lapse = leases.lapse(connection, row)
        dropped.extend(lapse.dropped)
        return lapse.state is not None

    try:
        rows = transact(engine, read, read_only=True)
        # One by one: each locks the study after its trial, and would wait for the next trial so.
        moved = sum(transact(engine, partial(move, row=row)) for row in rows)
    except NotAllowed:
        # Who only looks leaves it to those who work.
        return 0
    store.tidy(engine, dropped)
    return moved


@remotable
def blob_names(engine: Engine, trial_id: int) -> dict[str, str]:
    """The trial's blobs: name to SHA-256."""
    return transact(engine, lambda connection: _blobs_of(connection, trial_id), read_only=True)


def _keep(connection: Connection, held: Claim) -> None:
    """Extend the lease; one that had run out is taken back, and was no failure."""
    end = clock(held.lease_seconds)
    if _change(connection, held, (leases.RESERVED, leases.RUNNING), expires_at=end):
        return
    if not _change(connection, held, (leases.EXPIRED,), state=leases.RUNNING, expires_at=end):
        raise _lost(held)
    records.set_state(connection, held.trial_id, TrialState.RUNNING)
    leases.mark_changed(connection, held.study_id, held.trial_id)


def _is_elsewhere(connection: Connection, held: Claim, proposal: Proposal) -> bool:
    """Whether another trial of the study has that configuration."""
    same = select(trials.c.trial_id).where(
        trials.c.study_id == held.study_id,
        trials.c.params_hash == proposal.hash,
        trials.c.trial_id != held.trial_id,
    )
    return connection.execute(same.limit(1)).first() is not None


def _lost(held: Claim) -> LeaseLost:
    return LeaseLost(f"trial {held.number}: the lease of attempt {held.attempt} is gone")


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


def _own_end(connection: Connection, held: Claim, **facts: Any) -> str | None:
    """RELEASED or TOLD where this attempt has ended so, with these facts, by its own doing.

    The answer to a commit may be lost after it took effect, and the verb be called again.
    """
    end: str | None = connection.execute(
        select(trials.c.state).where(
            trials.c.trial_id == held.trial_id,
            trials.c.token == held.token,
            trials.c.state.in_(leases.ENDED),
            *(trials.c[name] == value for name, value in facts.items()),
        )
    ).scalar()
    return end


def _is_told(connection: Connection, held: Claim, state: TrialState, value: float | None) -> bool:
    """Whether this attempt has told just that already."""
    if _own_end(connection, held) != leases.TOLD:
        return False
    shown = select(optuna_trials.c.state).where(optuna_trials.c.trial_id == held.trial_id)
    known = records.read_values(connection, [held.trial_id]).get(held.trial_id)
    return connection.execute(shown).scalar() == state and known == value


def _worker_of(held: Claim) -> ScalarSelect[Any]:
    """Whose attempt it is."""
    query = select(trials.c.worker_id).where(trials.c.trial_id == held.trial_id)
    return query.scalar_subquery()


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
