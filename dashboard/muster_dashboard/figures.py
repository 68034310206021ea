"""The figures of the Search and Workers pages, out of one look at a study."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

from optuna.trial import TrialState

from muster_dashboard.board import StudySight
from muster_db import leases, overview
from muster_db.contract import Contract
from muster_db.overview import Training, WorkerView
from muster_db.study import OPEN
from muster_db.watching import SeenTrial
from muster_db.workers import WorkerActivity

# More dots than a phone can draw, or a reader tell apart, say nothing more.
MOST_DOTS: Final = 500
MOST_GONE: Final = 50
STATES: Final = ("complete", "pruned", "failed", "running", "waiting", "next")


def state_of(trial: SeenTrial) -> str:
    """One of STATES: waiting is left for anybody to resume, next is claimed and not begun."""
    if trial.is_told:
        return overview.ENDED[trial.shown]
    return overview.LEASES.get(trial.lease, overview.WAITING)


def architecture_of(trial: SeenTrial, sight: StudySight) -> str:
    """The architecture that the trial has, or all of the study's have."""
    for name, number in trial.params:
        if name == "architecture":
            return str(sight.distributions[name].to_external_repr(number))
    fixed = sight.study.contract.space.get("space", {}).get("architecture", "unknown")
    return str(fixed["choose"][0] if isinstance(fixed, dict) else fixed)


def search(sight: StudySight, at: datetime) -> dict[str, Any]:
    """How far the search is, as plain data. at: now, by the database's clock."""
    head, contract = sight.head, sight.study.contract
    states = Counter(state_of(trial) for trial in sight.trials)
    by_architecture: defaultdict[str, Counter[str]] = defaultdict(Counter)
    best_of: dict[str, float] = {}
    for trial in sight.trials:
        name = architecture_of(trial, sight)
        by_architecture[name][state_of(trial)] += 1
        if trial.shown == TrialState.COMPLETE and trial.value is not None:
            known = best_of.get(name)
            if known is None or _is_better(contract, trial.value, known):
                best_of[name] = trial.value
    done = _completed(sight.trials)
    steps = _improvements(contract, done)
    best = steps[-1] if steps else None
    return {
        "study": head.name,
        "study_id": head.study_id,
        "state": _state_in_words(sight),
        "metric": contract.metric,
        "direction": contract.direction,
        "budget": head.budget,
        "asked": head.asked,
        "told": head.told,
        "patience": head.patience,
        "ends_in_seconds": None if head.ends_at is None else _seconds(at, head.ends_at),
        "states": {name: states[name] for name in STATES},
        "architectures": [
            {"name": name, "best": best_of.get(name), **{each: counts[each] for each in STATES}}
            for name, counts in sorted(by_architecture.items())
        ],
        "best": None
        if best is None
        else {
            "value": best.value,
            "number": best.number,
            "architecture": architecture_of(best, sight),
        },
        "steps": [_dot(head.created_at, trial) for trial in steps],
        "dots": [_dot(head.created_at, trial) for trial in thin(done)],
        "seconds": _seconds(head.created_at, _end(sight, at)),
        "seconds_left": seconds_left(sight, at),
        "epochs": sum(epochs_of(trial, contract) for trial in sight.trials),
    }


def seconds_left(sight: StudySight, at: datetime) -> float | None:
    """As overview.seconds_left; None where nobody works, too."""
    head = sight.head
    if head.told < head.budget and (
        head.state != OPEN or not any(trial.lease == leases.RUNNING for trial in sight.trials)
    ):
        return None
    ends = sorted(trial.ended for trial in sight.trials if trial.is_told and trial.ended)
    return overview.seconds_left(
        trials_left=head.budget - head.told,
        ends=ends[-overview.LATEST :],
        ends_at=head.ends_at,
        at=at,
    )


def crew(sight: StudySight, at: datetime) -> dict[str, Any]:
    """The workers, those that are here first, as plain data."""
    held: defaultdict[int | None, list[SeenTrial]] = defaultdict(list)
    for trial in sight.trials:
        if trial.lease == leases.RUNNING:
            held[trial.worker_id].append(trial)
    rows = [
        _worker(activity, held[activity.worker.worker_id], sight, at) for activity in sight.workers
    ]
    here = [row for row in rows if row["is_here"]]
    gone = sorted(
        (row for row in rows if not row["is_here"]), key=lambda row: float(row["silent_seconds"])
    )
    rates = [row["epochs_per_second"] for row in here if row["epochs_per_second"] is not None]
    return {
        "study": sight.head.name,
        "study_id": sight.head.study_id,
        "state": _state_in_words(sight),
        "here": here,
        "gone": gone[:MOST_GONE],
        "gone_in_all": len(gone),
        "hosts": len({row["host"] for row in here}),
        "epochs_per_second": sum(rates) if rates else None,
    }


def ensemble(sight: StudySight, at: datetime) -> dict[str, Any]:
    """The current vote and its estimate; None where no vote was made yet."""
    snapshot = sight.ensemble
    found = None if snapshot is None else snapshot.model_dump(mode="json")
    when = None if snapshot is None else snapshot.at
    return {
        "study": sight.head.name,
        "study_id": sight.head.study_id,
        "metric": sight.study.contract.metric,
        "completed": sum(1 for t in sight.trials if t.shown == TrialState.COMPLETE),
        "ensemble": found,
        "seconds_ago": None if when is None else max(0.0, _seconds(when, at)),
    }


def epochs_of(trial: SeenTrial, contract: Contract) -> int:
    """How many epochs it has reported; a fold's last step is no epoch, but its mean."""
    last = contract.steps_per_fold - 1
    return sum(1 for step in trial.reports if step % contract.steps_per_fold != last)


def thin(trials: Sequence[SeenTrial], most: int = MOST_DOTS) -> list[SeenTrial]:
    """At most so many of them, evenly, the last one included."""
    if len(trials) <= most:
        return list(trials)
    return [trials[(len(trials) - 1) * i // (most - 1)] for i in range(most)]


def _worker(
    activity: WorkerActivity, held: Sequence[SeenTrial], sight: StudySight, at: datetime
) -> dict[str, Any]:
    silent = max(0.0, _seconds(activity.seen_at, at))
    training = [_training(trial, sight) for trial in held]
    view = WorkerView(activity, tuple(each for each, _ in training), silent)
    return {
        **view.as_plain(),
        "has_left": activity.left_at is not None,
        "training": [{**asdict(each), **more} for each, more in training],
    }


def _training(trial: SeenTrial, sight: StudySight) -> tuple[Training, dict[str, Any]]:
    contract = sight.study.contract
    last = contract.steps_per_fold - 1
    steps = [step for step in trial.reports if step % contract.steps_per_fold != last]
    fold, epoch = divmod(max(steps), contract.steps_per_fold) if steps else (None, None)
    more = {
        "attempt": trial.attempt,
        "folds": max(contract.folds) + 1,
        "score": trial.reports[max(steps)] if steps else None,
    }
    return Training(trial.number, architecture_of(trial, sight), fold, epoch), more


def _end(sight: StudySight, at: datetime) -> datetime:
    """When the last trial ended, where all have; else now."""
    if sight.head.told < sight.head.budget:
        return at
    return max((trial.ended for trial in sight.trials if trial.ended), default=at)


def _state_in_words(sight: StudySight) -> str:
    if sight.head.told >= sight.head.budget:
        return "finished"
    return sight.head.state


def _completed(trials: Sequence[SeenTrial]) -> list[SeenTrial]:
    """Those with a value, in the order in which they ended."""
    done = [
        t for t in trials if t.shown == TrialState.COMPLETE and t.value is not None and t.ended
    ]
    return sorted(done, key=lambda trial: (trial.ended or datetime.min, trial.number))


def _improvements(contract: Contract, done: Sequence[SeenTrial]) -> list[SeenTrial]:
    found: list[SeenTrial] = []
    for trial in done:
        if not found or _is_better(contract, _value(trial), _value(found[-1])):
            found.append(trial)
    return found


def _is_better(contract: Contract, value: float, than: float) -> bool:
    return value > than if contract.direction == "maximize" else value < than


def _value(trial: SeenTrial) -> float:
    return float("nan") if trial.value is None else trial.value


def _dot(start: datetime, trial: SeenTrial) -> list[float | int]:
    return [max(0.0, _seconds(start, trial.ended or start)), _value(trial), trial.number]


def _seconds(start: datetime, end: datetime) -> float:
    return (end - start).total_seconds()


def plain_numbers(value: Any) -> Any:
    """The same with null for what JSON has no number for."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: plain_numbers(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain_numbers(each) for each in value]
    return value
