"""Limits that end a study before its budget: wall-clock time, and patience."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

from sqlalchemy import Connection, Row, func, select, update

from muster.errors import UserError
from muster_db import records
from muster_db.clock import now
from muster_db.leases import TOLD
from muster_db.tables import ensembles, optuna_values, studies, trials

PatienceOn = Literal["best", "ensemble"]
BEST: Final = "best"
ENSEMBLE: Final = "ensemble"


@dataclass(frozen=True)
class Limits:
    """seconds: wall-clock time in which trials are begun, counted from when the limit was set.

    patience: trials told without a better value, of those since, before no more are begun.
    patience_on: the best trial's value, or the ensemble's nested estimate; trials that no estimate
    has looked at do not count then. None: no such limit. Raises UserError for what leaves no
    trial.
    """

    seconds: float | None = None
    patience: int | None = None
    patience_on: PatienceOn = BEST

    def __post_init__(self) -> None:
        if self.seconds is not None and self.seconds <= 0:
            raise UserError(f"a time limit of {self.seconds:g} s leaves no time; allow more")
        if self.patience is not None and self.patience < 1:
            raise UserError(f"patience={self.patience} leaves no trial; allow 1 or more")


NO_LIMITS = Limits()


def has_any(row: Row[Any]) -> bool:
    """Whether the study in this row of muster_studies ends by more than its budget."""
    return row.ends_at is not None or row.patience is not None


def enforce(connection: Connection, row: Row[Any], *, direction: str) -> bool:
    """Whether a limit of the study in this row of muster_studies is reached.

    If so the budget becomes what has been claimed so far, so that N asked stays N told.
    """
    is_late = row.ends_at is not None and now(connection) >= row.ends_at
    if not is_late and not _is_out_of_patience(connection, row, direction):
        return False
    connection.execute(
        update(studies)
        .where(studies.c.study_id == row.study_id, studies.c.budget > studies.c.claimed)
        # MySQL assigns from left to right: the budget is noted before it is cut.
        .ordered_values((studies.c.asked, studies.c.budget), (studies.c.budget, studies.c.claimed))
    )
    return True


def _is_out_of_patience(connection: Connection, row: Row[Any], direction: str) -> bool:
    if row.patience is None:
        return False
    looks = _best_estimate if row.patience_on == ENSEMBLE else _best_trial
    # Revisions grow with each change of a trial, so they order the tells.
    best, newest = looks(connection, row, direction)
    since = select(func.count()).where(
        trials.c.study_id == row.study_id,
        trials.c.state == TOLD,
        trials.c.revision > max(best or 0, row.limits_from or 0),
        trials.c.revision <= newest,
    )
    return bool(connection.execute(since).scalar_one() >= row.patience)


def _best_trial(connection: Connection, row: Row[Any], direction: str) -> tuple[int | None, int]:
    """The revisions of the best trial and of the newest change."""
    best = connection.execute(
        select(trials.c.revision)
        .join_from(trials, optuna_values, trials.c.trial_id == optuna_values.c.trial_id)
        .where(trials.c.study_id == row.study_id, trials.c.state == TOLD)
        .order_by(records.best_first(direction), trials.c.revision)
        .limit(1)
    )
    return best.scalar_one_or_none(), row.revision


def _best_estimate(
    connection: Connection, row: Row[Any], direction: str
) -> tuple[int | None, int]:
    """The revisions up to which the best estimate and the newest one looked."""
    query = select(ensembles.c.best_revision, ensembles.c.judged).where(
        ensembles.c.study_id == row.study_id
    )
    found = connection.execute(query).one_or_none()
    return (None, 0) if found is None else (found.best_revision, found.judged or 0)
