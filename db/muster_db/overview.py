"""A study as people watch it: how far, by architecture, by worker, and how long it still takes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from optuna.distributions import json_to_distribution
from optuna.trial import TrialState
from sqlalchemy import Connection, Engine, and_, func, select

from muster_db.clock import now
from muster_db.engine import transact
from muster_db.leases import RESERVED, RUNNING, TOLD
from muster_db.progress import study_row
from muster_db.study import OPEN, Study
from muster_db.summary import StudySummary, summarise
from muster_db.tables import optuna_params, optuna_reports, optuna_trials, trials
from muster_db.workers import WorkerActivity, list_workers

ARCHITECTURE = "architecture"
# What a trial that was told is counted as, and one that was not: next is claimed and not begun.
ENDED = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}
LEASES = {RUNNING: "running", RESERVED: "next"}
WAITING = "waiting"
# The search goes on as quickly as its last trials went: the first may have had fewer workers.
LATEST = 30
# Who trains is seen every few seconds, who waits for a trial every two.
SILENT_SECONDS = 60.0


@dataclass(frozen=True)
class Training:
    """A trial that a worker trains now; fold and epoch, from 0, are those of its last report."""

    number: int
    architecture: str
    fold: int | None
    epoch: int | None


@dataclass(frozen=True)
class WorkerView:
    """A worker, what it trains, and for how long it has said nothing by the database's clock."""

    activity: WorkerActivity
    training: tuple[Training, ...]
    silent_seconds: float

    @property
    def is_here(self) -> bool:
        """Whether it has neither left nor been silent for so long that it must be gone."""
        return self.activity.left_at is None and self.silent_seconds < SILENT_SECONDS

    @property
    def epochs_per_second(self) -> float | None:
        """How quickly it trains; None where it trains nothing, or has not said so yet."""
        return self.activity.pace.epochs_per_second if self.training and self.is_here else None

    def as_plain(self) -> dict[str, Any]:
        """The same as plain data for JSON."""
        activity = self.activity
        return {
            "ordinal": activity.worker.ordinal,
            "host": activity.worker.host,
            "device": activity.worker.device,
            **asdict(activity.equipment),
            "training": [asdict(each) for each in self.training],
            "epochs": activity.pace.epochs,
            "epochs_per_second": self.epochs_per_second,
            "told": activity.told,
            "failed": activity.failed,
            "silent_seconds": round(self.silent_seconds, 1),
            "is_here": self.is_here,
        }


@dataclass(frozen=True)
class Overview:
    """What there is to watch of a study.

    states: trials by architecture and by state: complete, pruned, failed, running, next (claimed
    and not begun), waiting (left for anybody).
    seconds_left: until the budget is spent at the pace of the last trials, or the time limit is
    reached; None where nobody can say. at: naive UTC by the database's clock.
    """

    summary: StudySummary
    metric: str
    states: Mapping[str, Mapping[str, int]]
    workers: tuple[WorkerView, ...]
    seconds_left: float | None
    at: datetime

    def as_plain(self) -> dict[str, Any]:
        """The summary's figures and these as plain data for JSON."""
        return {
            **self.summary.as_plain(),
            "metric": self.metric,
            "seconds_left": self.seconds_left,
            "architectures": {name: dict(counts) for name, counts in self.states.items()},
            "machines": [each.as_plain() for each in self.workers],
        }


def look(engine: Engine, study: Study) -> Overview:
    """Read what there is to watch of one study. Raises UserError when it has been deleted."""
    summary = summarise(engine, study)
    activities = list_workers(engine, study)

    def verb(connection: Connection) -> Overview:
        at = now(connection)
        training = _training(connection, study)
        views = tuple(
            WorkerView(
                each,
                tuple(training.get(each.worker.worker_id, ())),
                max(0.0, (at - each.seen_at).total_seconds()),
            )
            for each in activities
        )
        return Overview(
            summary,
            study.contract.metric,
            _states(connection, study),
            views,
            _seconds_left(connection, study, at) if training else None,
            at,
        )

    return transact(engine, verb, read_only=True)


def seconds_left(
    *, trials_left: int, ends: Sequence[datetime], ends_at: datetime | None, at: datetime
) -> float | None:
    """Until all is told at the pace of the last trials, or the time limit is reached.

    ends: when the last LATEST trials ended. ends_at: the limit. None: too few have ended to say.
    """
    if trials_left <= 0:
        return 0.0
    left = [] if ends_at is None else [(ends_at - at).total_seconds()]
    if len(ends) > 1:
        left.append(trials_left * max(1.0, (at - min(ends)).total_seconds()) / len(ends))
    return max(0.0, min(left)) if left else None


def _training(connection: Connection, study: Study) -> dict[int, list[Training]]:
    """Running trials by the worker that holds them."""
    rows = connection.execute(
        select(
            trials.c.worker_id,
            trials.c.number,
            optuna_params.c.param_value,
            optuna_params.c.distribution_json,
            _last_step().label("step"),
        )
        .outerjoin_from(trials, optuna_params, _is_architecture(trials.c.trial_id))
        .where(trials.c.study_id == study.study_id, trials.c.state == RUNNING)
        .order_by(trials.c.number)
    )
    found: dict[int, list[Training]] = defaultdict(list)
    for row in rows:
        name = _architecture(study, row.param_value, row.distribution_json)
        fold, epoch = _place(row.step, study.contract.steps_per_fold)
        found[row.worker_id].append(Training(row.number, name, fold, epoch))
    return found


def _last_step() -> Any:
    query = select(func.max(optuna_reports.c.step))
    return query.where(optuna_reports.c.trial_id == trials.c.trial_id).scalar_subquery()


def _place(step: int | None, steps_per_fold: int) -> tuple[int | None, int | None]:
    """Fold and epoch of a report; the mean after a fold stands at its last possible epoch."""
    if step is None:
        return None, None
    fold, epoch = divmod(step, steps_per_fold)
    return fold, min(epoch, steps_per_fold - 2)


def _states(connection: Connection, study: Study) -> dict[str, dict[str, int]]:
    """Trials by architecture and state, by name."""
    rows = connection.execute(
        select(
            trials.c.state,
            optuna_trials.c.state.label("shown"),
            optuna_params.c.param_value,
            # A parameter has one distribution in all trials of a study.
            func.min(optuna_params.c.distribution_json).label("distribution"),
            func.count().label("number"),
        )
        .join_from(trials, optuna_trials, trials.c.trial_id == optuna_trials.c.trial_id)
        .outerjoin(optuna_params, _is_architecture(trials.c.trial_id))
        .where(trials.c.study_id == study.study_id)
        .group_by(trials.c.state, optuna_trials.c.state, optuna_params.c.param_value)
    )
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for row in rows:
        counts = found[_architecture(study, row.param_value, row.distribution)]
        state = ENDED[row.shown] if row.state == TOLD else LEASES.get(row.state, WAITING)
        counts[state] = counts.get(state, 0) + row.number
    return {name: found[name] for name in sorted(found)}


def _is_architecture(trial_id: Any) -> Any:
    named = optuna_params.c.param_name == ARCHITECTURE
    return and_(optuna_params.c.trial_id == trial_id, named)


def _architecture(study: Study, value: float | None, distribution: str | None) -> str:
    """The name that a parameter's number stands for, or the one that the space fixes."""
    if value is not None and distribution is not None:
        return str(json_to_distribution(distribution).to_external_repr(value))
    fixed = study.contract.space.get("space", {}).get(ARCHITECTURE, "unknown")
    return str(fixed["choose"][0] if isinstance(fixed, dict) else fixed)


def _seconds_left(connection: Connection, study: Study, at: datetime) -> float | None:
    row = study_row(connection, study)
    if row.state != OPEN:
        return None
    ends = connection.execute(
        select(optuna_trials.c.datetime_complete)
        .where(optuna_trials.c.study_id == study.study_id, optuna_trials.c.state.in_([*ENDED]))
        .order_by(optuna_trials.c.datetime_complete.desc())
        .limit(LATEST)
    ).scalars()
    return seconds_left(
        trials_left=row.budget - row.told,
        ends=[moment for moment in ends if moment is not None],
        ends_at=row.ends_at,
        at=at,
    )
