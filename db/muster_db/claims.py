"""Claiming: a trial that somebody left, or a new slot of the exact budget."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, Row, exists, insert, select, update

from muster_db import blobs, digest, leases, limits, records, workers
from muster_db.clock import clock
from muster_db.database import Database, remotable
from muster_db.engine import transact
from muster_db.progress import StudyProgress, read_progress, study_row
from muster_db.records import Proposal
from muster_db.study import OPEN, Study, StudyKey
from muster_db.tables import studies, trials

# Proposals that another worker took a moment earlier; so many are drawn again from fresh news
# before a configuration may be one that was tried.
REDRAWS = 20


@dataclass(frozen=True)
class Claim:
    """The right to run one attempt of a trial. attempt: counts from 1."""

    study_id: int
    trial_id: int
    number: int
    params: dict[str, Any]
    attempt: int
    token: str
    lease_seconds: float


@dataclass(frozen=True)
class Claimant:
    """Who claims. token: of the new lease; state: RUNNING, or RESERVED for a claim ahead."""

    study: StudyKey
    direction: str
    worker_id: int
    lease_seconds: float
    token: str
    state: str


def claim(
    engine: Database,
    study: Study,
    *,
    worker_id: int,
    lease_seconds: float,
    propose: Callable[[], Proposal],
    ahead: bool = False,
    hurry: bool = False,
) -> Claim | StudyProgress:
    """Take a trial that somebody left, else a new slot of the budget; else say how far it is.

    ahead: the trial is only reserved, to be begun with trials.begin; a worker that finds nothing
    else to claim may take it over until then.
    A left trial keeps its number and parameters. One that this worker failed itself waits until
    the budget has no slot, so that a sick worker does not use its attempts up. propose is called
    outside any transaction, only for a new slot, and again when its configuration was taken
    meanwhile. hurry: try to take a slot without a look at what others left, which spares a
    transaction where there is nothing; propose is then called first. StudyProgress: nothing to
    claim, because all is told (is_finished), others still run, or the study is stopped.
    """
    state = leases.RESERVED if ahead else leases.RUNNING
    claimant = Claimant(
        study, study.contract.direction, worker_id, lease_seconds, uuid.uuid4().hex, state
    )
    if hurry:
        found = take_new(engine, claimant, propose(), may_repeat=False, unless_left=True)
        if isinstance(found, Claim):
            return found
    found = take_left(engine, claimant)
    redraws = 0
    # Each proposal that is refused is another worker's claim: this ends with the budget at last.
    while found is None:
        proposal = propose()
        found = take_new(engine, claimant, proposal, may_repeat=redraws >= REDRAWS)
        redraws += 1
    return found


@remotable
def take_left(
    engine: Engine, claimant: Claimant, *, again: bool = False
) -> Claim | StudyProgress | None:
    """The first transaction of claim; None where the budget has a slot, which take_new takes.

    again: an earlier call with this claimant may have taken effect.
    """
    tries = count(int(again))
    dropped: list[str] = []

    def verb(connection: Connection) -> Claim | StudyProgress | None:
        if next(tries) > 0 and (mine := _find_mine(connection, claimant)) is not None:
            return mine
        return _look(connection, claimant, dropped)

    found = transact(engine, verb)
    blobs.tidy(engine, dropped)
    return found


def _look(
    connection: Connection, claimant: Claimant, dropped: list[str]
) -> Claim | StudyProgress | None:
    """A trial that somebody left; None where the budget has a slot."""
    study = claimant.study
    row = study_row(connection, study, leases.left_count(study.study_id).label("left"))
    if row.state != OPEN:
        return read_progress(connection, study)
    rows = leases.left(connection, study.study_id) if row.left else []
    others = [each for each in rows if each.failed_by != claimant.worker_id]
    found = _retake_first(connection, others, claimant, dropped)
    if found is not None:
        return found
    if row.claimed < row.budget and not limits.enforce(
        connection, row, direction=claimant.direction
    ):
        return None
    # Who holds a trial is seen with each extension of its lease, who waits is seen here.
    workers.touch(connection, claimant.worker_id)
    own = [each for each in rows if each.failed_by == claimant.worker_id]
    return (
        _take_reserved(connection, claimant)
        or _retake_first(connection, own, claimant, dropped)
        or read_progress(connection, study)
    )


def _take_reserved(connection: Connection, claimant: Claimant) -> Claim | None:
    """A trial that a busy worker claimed ahead, for a worker that would be idle otherwise."""
    if claimant.state == leases.RESERVED:
        return None
    for row in leases.reserved(connection, claimant.study.study_id):
        if _retake(connection, row, leases.RESERVED, claimant):
            return _claim_of(connection, row.trial_id, claimant)
    return None


def _retake_first(
    connection: Connection, rows: Sequence[Row[Any]], claimant: Claimant, dropped: list[str]
) -> Claim | None:
    for left in rows:
        lapse = leases.lapse(connection, left)
        dropped += lapse.dropped
        if lapse.is_takeable and _retake(connection, left, str(lapse.state), claimant):
            return _claim_of(connection, left.trial_id, claimant)
    return None


def _retake(connection: Connection, left: Row[Any], state: str, claimant: Claimant) -> bool:
    """Whether the trial is ours now, and not another's that saw it at the same moment."""
    changed = connection.execute(
        update(trials)
        .where(
            trials.c.trial_id == left.trial_id,
            trials.c.token == left.token,
            trials.c.state == state,
        )
        .values(
            state=claimant.state,
            token=claimant.token,
            worker_id=claimant.worker_id,
            # One that was never begun has had no attempt.
            attempt=left.attempt + (left.state != leases.RESERVED),
            failures=left.failures + (state == leases.EXPIRED),
            expires_at=clock(claimant.lease_seconds),
            lease_seconds=claimant.lease_seconds,
        )
    ).rowcount
    if changed != 1:
        return False
    if claimant.state == leases.RUNNING:
        records.begin(connection, left.trial_id)
    leases.mark_changed(connection, claimant.study.study_id, left.trial_id)
    return True


@remotable
def take_new(
    engine: Engine,
    claimant: Claimant,
    proposal: Proposal,
    *,
    may_repeat: bool,
    unless_left: bool = False,
    again: bool = False,
) -> Claim | StudyProgress | None:
    """The second transaction of claim; None where the configuration was taken meanwhile.

    may_repeat: it may be one that was tried. unless_left: None as well where take_left is to look
    first: somebody left a trial, or the study has a limit. again: as in take_left.
    """
    tries = count(int(again))

    def verb(connection: Connection) -> Claim | StudyProgress | None:
        if next(tries) > 0 and (mine := _find_mine(connection, claimant)) is not None:
            return mine
        may = may_repeat or proposal.is_repeat
        return _insert(connection, claimant, proposal, may, unless_left=unless_left)

    return transact(engine, verb)


def _find_mine(connection: Connection, claimant: Claimant) -> Claim | None:
    """What an earlier try of this claim took, whose answer was lost."""
    # Every claim locks the study: an earlier try that is still being committed ends first.
    locked = select(studies.c.study_id).where(studies.c.study_id == claimant.study.study_id)
    connection.execute(locked.with_for_update())
    mine = select(trials.c.trial_id).where(trials.c.token == claimant.token)
    trial_id = connection.execute(mine).scalar()
    return None if trial_id is None else _claim_of(connection, trial_id, claimant)


def _insert(
    connection: Connection,
    claimant: Claimant,
    proposal: Proposal,
    may_repeat: bool,
    *,
    unless_left: bool,
) -> Claim | StudyProgress | None:
    study = claimant.study
    if not _count_up(connection, study):
        return read_progress(connection, study)
    same = trials.c.study_id == study.study_id, trials.c.params_hash == proposal.hash
    looked_up: list[ColumnElement[Any]] = [exists().where(*same).label("is_known")]
    if unless_left:
        looked_up.append(leases.left_count(study.study_id).label("left"))
    row = study_row(connection, study, *looked_up)
    number = row.claimed - 1
    is_misplaced = proposal.only_for not in (None, number)
    is_barred = unless_left and (row.left > 0 or limits.has_any(row))
    if is_misplaced or is_barred or (not may_repeat and row.is_known):
        back = {"claimed": number, "revision": row.revision - 1}
        counted = update(studies).where(studies.c.study_id == study.study_id)
        connection.execute(counted.values(back))
        return None
    trial_id = records.insert_trial(
        connection,
        study.study_id,
        number=number,
        proposal=proposal,
        is_begun=claimant.state == leases.RUNNING,
    )
    connection.execute(
        insert(trials).values(
            trial_id=trial_id,
            study_id=study.study_id,
            number=number,
            state=claimant.state,
            token=claimant.token,
            worker_id=claimant.worker_id,
            attempt=1,
            failures=0,
            expires_at=clock(claimant.lease_seconds),
            lease_seconds=claimant.lease_seconds,
            revision=row.revision,
            params_hash=proposal.hash,
            params=digest.of_params(proposal.params, proposal.distributions),
        )
    )
    return _claim(claimant, trial_id, number, dict(proposal.params), attempt=1)


def _count_up(connection: Connection, study: StudyKey) -> bool:
    """Whether the budget has one more; the study's row is locked from here to the commit."""
    counted = connection.execute(
        update(studies)
        .where(
            studies.c.study_id == study.study_id,
            studies.c.claimed < studies.c.budget,
            studies.c.state == OPEN,
        )
        .values(claimed=studies.c.claimed + 1, revision=studies.c.revision + 1)
    )
    return counted.rowcount == 1


def _claim_of(connection: Connection, trial_id: int, claimant: Claimant) -> Claim:
    row = connection.execute(
        select(trials.c.number, trials.c.attempt).where(trials.c.trial_id == trial_id)
    ).one()
    params, _ = records.read_params(connection, [trial_id])[trial_id]
    return _claim(claimant, trial_id, row.number, params, attempt=row.attempt)


def _claim(
    claimant: Claimant, trial_id: int, number: int, params: dict[str, Any], *, attempt: int
) -> Claim:
    return Claim(
        claimant.study.study_id,
        trial_id,
        number,
        params,
        attempt,
        claimant.token,
        claimant.lease_seconds,
    )
