from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from optuna.trial import TrialState
from sqlalchemy import Engine, update

from muster_db import trials, workers
from muster_db.overview import look, seconds_left
from muster_db.records import Proposal
from muster_db.study import Study, stop_study
from muster_db.tables import workers as workers_table
from muster_db.workers import Equipment, Pace, Worker, register
from samples import make_study, run_out, take

FOUND = Equipment(slot=2, memory_bytes=2**40, steps_per_second=210.5, round_trip_seconds=0.0015)


def joined(engine: Engine) -> tuple[Study, Worker]:
    """A study of ten trials, and a worker that has joined it."""
    study = make_study(engine, budget=10)
    return study, register(engine, study, host="h", device="cpu", equipment=FOUND)


def complete(engine: Engine, study: Study, worker: Worker) -> None:
    held = take(engine, study, worker_id=worker.worker_id)
    trials.tell(engine, held, state=TrialState.COMPLETE, value=1.0, attributes={}, blobs={})


def test_a_worker_is_shown_with_what_it_found_and_what_it_trains(engine: Engine) -> None:
    study, worker = joined(engine)
    held = take(engine, study, worker_id=worker.worker_id)
    # Ten epochs a fold and its mean: the twelfth report is the second fold's first epoch.
    trials.report(engine, held, [(0, 0.1), (10, 0.2), (11, 0.3)])
    trials.extend(engine, held, pace=Pace(12, 4.5))
    (view,) = look(engine, study).workers
    assert view.activity.equipment == FOUND
    assert view.activity.pace == Pace(12, 4.5)
    assert view.is_here
    assert view.as_plain() | {"silent_seconds": 0} == {
        "ordinal": 0, "host": "h", "device": "cpu", "slot": 2, "memory_bytes": 2**40,
        "steps_per_second": 210.5, "round_trip_seconds": 0.0015, "epochs": 12,
        "training": [{"number": 0, "architecture": "gru", "fold": 1, "epoch": 0}],
        "epochs_per_second": 4.5, "told": 0, "failed": 0, "silent_seconds": 0, "is_here": True,
    }  # fmt: skip


def test_the_mean_of_a_fold_is_shown_as_its_last_epoch(lite: Engine) -> None:
    study, worker = joined(lite)
    held = take(lite, study, worker_id=worker.worker_id)
    trials.report(lite, held, [(9, 0.1), (10, 0.2)])
    (training,) = look(lite, study).workers[0].training
    assert (training.fold, training.epoch) == (0, 9)


def test_what_is_measured_later_takes_the_place_of_what_was_not_known(lite: Engine) -> None:
    study = make_study(lite, budget=10)
    worker = register(lite, study, host="h", device="cpu")
    assert look(lite, study).workers[0].activity.equipment == workers.UNKNOWN
    workers.describe(lite, worker, FOUND)
    (view,) = look(lite, study).workers
    assert view.activity.equipment == FOUND
    assert view.activity.pace == Pace(0, None)


def test_who_trains_nothing_has_no_pace_and_who_is_silent_has_gone(lite: Engine) -> None:
    study, worker = joined(lite)
    held = take(lite, study, worker_id=worker.worker_id)
    trials.extend(lite, held, pace=Pace(12, 4.5))
    trials.tell(lite, held, state=TrialState.COMPLETE, value=1.0, attributes={}, blobs={})
    (idle,) = look(lite, study).workers
    assert (idle.training, idle.epochs_per_second, idle.is_here) == ((), None, True)
    later = idle.activity.seen_at - timedelta(minutes=5)
    with lite.begin() as connection:
        connection.execute(update(workers_table).values(seen_at=later))
    (gone,) = look(lite, study).workers
    assert not gone.is_here
    assert gone.silent_seconds >= 300


def test_trials_are_counted_by_architecture_and_state(engine: Engine) -> None:
    study, worker = joined(engine)
    complete(engine, study, worker)
    take(engine, study, worker_id=worker.worker_id)
    take(engine, study, worker_id=worker.worker_id, ahead=True)
    assert look(engine, study).states == {"gru": {"complete": 1, "running": 1, "next": 1}}


def test_an_architecture_that_the_space_fixes_has_no_parameter(lite: Engine) -> None:
    fixed = {"choose": ["cnn"], "cnn": {"channels": 8}}
    study = make_study(lite, space={"space": {"architecture": fixed}})
    take(lite, study, propose=lambda: Proposal({}, {}, is_repeat=True))
    assert look(lite, study).states == {"cnn": {"running": 1}}


AT = datetime(2026, 1, 1)
MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(
    ("facts", "left"),
    [
        ({}, None),
        ({"ends": [AT - MINUTE]}, None),
        ({"ends": [AT - MINUTE, AT - 4 * MINUTE]}, 1200.0),
        ({"ends": [AT, AT]}, 5.0),
        ({"ends": [AT - MINUTE, AT - 4 * MINUTE], "ends_at": AT + MINUTE}, 60.0),
        ({"ends_at": AT - MINUTE}, 0.0),
        ({"trials_left": 0}, 0.0),
    ],
)
def test_the_time_left_goes_by_the_pace_of_the_last_trials(
    facts: dict[str, Any], left: float | None
) -> None:
    known = {"trials_left": 10, "ends": [], "ends_at": None, "at": AT}
    assert seconds_left(**(known | facts)) == left


def test_the_time_left_is_said_while_trials_run(engine: Engine) -> None:
    study, worker = joined(engine)
    for _ in range(2):
        complete(engine, study, worker)
    assert look(engine, study).seconds_left is None
    take(engine, study, worker_id=worker.worker_id)
    left = look(engine, study).seconds_left
    assert left is not None
    assert left > 0
    stop_study(engine, study)
    assert look(engine, study).seconds_left is None


def test_a_lease_that_ran_out_is_nobodys_training(lite: Engine) -> None:
    study, worker = joined(lite)
    run_out(lite, take(lite, study, worker_id=worker.worker_id))
    trials.reap(lite)
    overview = look(lite, study)
    assert overview.workers[0].training == ()
    assert overview.states == {"gru": {"waiting": 1}}
    assert overview.as_plain()["architectures"] == {"gru": {"waiting": 1}}
