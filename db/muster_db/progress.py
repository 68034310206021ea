"""How far a study is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, Row, func, select

from muster.errors import UserError
from muster_db.database import remotable
from muster_db.engine import transact
from muster_db.leases import RESERVED, TAKEABLE
from muster_db.study import STOPPED, StudyKey, StudyState
from muster_db.tables import studies, trials


@dataclass(frozen=True)
class StudyProgress:
    """Counts of a study's trials. waiting: given back or expired, for anybody to resume.

    ahead: claimed by workers that still train another trial, to be begun next.
    """

    budget: int
    told: int
    running: int
    waiting: int
    state: StudyState
    ahead: int = 0

    @property
    def is_finished(self) -> bool:
        """Whether every trial that was asked for has been told."""
        return self.told >= self.budget

    @property
    def is_stopped(self) -> bool:
        """Whether somebody has stopped the study: workers finish up and leave."""
        return self.state == STOPPED


@remotable
def progress(engine: Engine, study: StudyKey) -> StudyProgress:
    """How far a study is; raises UserError when it has been deleted."""
    return transact(engine, lambda connection: read_progress(connection, study), read_only=True)


@remotable
def is_stopped(engine: Engine, study: StudyKey) -> bool:
    """Whether somebody has stopped the study; raises UserError when it has been deleted."""
    row = transact(engine, lambda connection: study_row(connection, study), read_only=True)
    return bool(row.state == STOPPED)


def read_progress(connection: Connection, study: StudyKey) -> StudyProgress:
    """progress, inside a transaction."""
    row = study_row(connection, study)
    by_state = (
        select(trials.c.state, func.count())
        .where(trials.c.study_id == study.study_id, trials.c.state.in_((RESERVED, *TAKEABLE)))
        .group_by(trials.c.state)
    )
    counts = {state: count for state, count in connection.execute(by_state)}
    ahead = counts.pop(RESERVED, 0)
    waiting = sum(counts.values())
    running = row.claimed - row.told - waiting - ahead
    return StudyProgress(row.budget, row.told, running, waiting, row.state, ahead)


def study_row(connection: Connection, study: StudyKey, *others: ColumnElement[Any]) -> Row[Any]:
    """The study's row of muster_studies but its contract, which may be large and never changes.

    others: what else to look up in the same statement. Raises UserError when it has been deleted.
    """
    columns = (each for each in studies.c if each is not studies.c.contract)
    row = connection.execute(
        select(*columns, *others).where(studies.c.study_id == study.study_id)
    ).one_or_none()
    if row is None:
        raise UserError(f"study {study.name!r} has been deleted")
    return row
