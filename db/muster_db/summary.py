"""A study in the few figures that people ask for first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from optuna.trial import TrialState
from sqlalchemy import Connection, Engine, func, select

from muster_db import records
from muster_db.clock import clock
from muster_db.engine import transact
from muster_db.ensembles import Snapshot, read_current
from muster_db.leases import RUNNING
from muster_db.progress import StudyProgress, read_progress
from muster_db.study import Study
from muster_db.tables import optuna_trials, optuna_values, trials


@dataclass(frozen=True)
class StudySummary:
    """Counts of trials by how they ended, the best of them, and the workers at work now.

    ensemble: as it was recorded last, None before the first.
    """

    name: str
    progress: StudyProgress
    complete: int
    pruned: int
    failed: int
    workers: int
    best_value: float | None
    best_number: int | None
    ensemble: Snapshot | None = None

    def as_plain(self) -> dict[str, Any]:
        """The same as plain data for JSON."""
        return {
            "name": self.name,
            "state": self.progress.state,
            "budget": self.progress.budget,
            "told": self.progress.told,
            "running": self.progress.running,
            "waiting": self.progress.waiting,
            "complete": self.complete,
            "pruned": self.pruned,
            "failed": self.failed,
            "workers": self.workers,
            "best_value": self.best_value,
            "best_number": self.best_number,
            "ensemble": None if self.ensemble is None else self.ensemble.model_dump(mode="json"),
        }


def summarise(engine: Engine, study: Study) -> StudySummary:
    """Read the figures of one study in one transaction."""

    def verb(connection: Connection) -> StudySummary:
        counts = _counts(connection, study)
        best = _best(connection, study)
        attached = connection.execute(
            select(func.count(func.distinct(trials.c.worker_id))).where(
                trials.c.study_id == study.study_id,
                trials.c.state == RUNNING,
                trials.c.expires_at > clock(),
            )
        ).scalar_one()
        return StudySummary(
            name=study.name,
            progress=read_progress(connection, study),
            complete=counts.get(TrialState.COMPLETE, 0),
            pruned=counts.get(TrialState.PRUNED, 0),
            failed=counts.get(TrialState.FAIL, 0),
            workers=attached,
            best_value=None if best is None else best[0],
            best_number=None if best is None else best[1],
            ensemble=read_current(connection, study.study_id),
        )

    return transact(engine, verb, read_only=True)


def seconds_spent(engine: Engine, study: Study) -> float:
    """Wall-clock seconds from the first trial's start to the last one's end so far."""
    query = select(
        func.min(optuna_trials.c.datetime_start), func.max(optuna_trials.c.datetime_complete)
    ).where(optuna_trials.c.study_id == study.study_id)
    first, last = transact(
        engine, lambda connection: connection.execute(query).one(), read_only=True
    )
    return 0.0 if first is None or last is None else float((last - first).total_seconds())


def _counts(connection: Connection, study: Study) -> dict[TrialState, int]:
    rows = connection.execute(
        select(optuna_trials.c.state, func.count())
        .where(optuna_trials.c.study_id == study.study_id)
        .group_by(optuna_trials.c.state)
    )
    return {state: count for state, count in rows}


def _best(connection: Connection, study: Study) -> tuple[float, int] | None:
    value = optuna_values.c.value
    row = connection.execute(
        select(value, optuna_trials.c.number)
        .join_from(
            optuna_values, optuna_trials, optuna_values.c.trial_id == optuna_trials.c.trial_id
        )
        .where(
            optuna_trials.c.study_id == study.study_id,
            optuna_trials.c.state == TrialState.COMPLETE,
        )
        .order_by(records.best_first(study.contract.direction), optuna_trials.c.number)
        .limit(1)
    ).one_or_none()
    return None if row is None else (row[0], row[1])
