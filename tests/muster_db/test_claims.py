from __future__ import annotations

import optuna
import pytest
from optuna.trial import TrialState
from sqlalchemy import Engine, update

from muster.errors import LeaseLost
from muster_db import trials
from muster_db.claims import Claim, claim
from muster_db.clock import clock
from muster_db.study import Study, StudyProgress, progress, stop_study
from muster_db.tables import trials as table
from muster_db.trials import blob_names
from samples import make_study, proposer, take


def shown(engine: Engine) -> list[optuna.trial.FrozenTrial]:
    url = engine.url.render_as_string(hide_password=False)
    return optuna.load_study(study_name="study", storage=url).trials


def run_out(engine: Engine, held: Claim) -> None:
    with engine.begin() as connection:
        connection.execute(
            update(table).where(table.c.trial_id == held.trial_id).values(expires_at=clock(-1.0))
        )


def ahead(engine: Engine, study: Study, *, worker_id: int) -> Claim | StudyProgress:
    return claim(
        engine,
        study,
        worker_id=worker_id,
        lease_seconds=60,
        propose=proposer(worker_id),
        ahead=True,
    )


def test_trial_claimed_ahead_takes_its_slot_and_waits_until_it_is_begun(engine: Engine) -> None:
    study = make_study(engine, budget=1)
    held = take(engine, study, ahead=True)
    assert progress(engine, study) == StudyProgress(1, 0, 1, 0, "open")
    (waiting,) = shown(engine)
    assert (waiting.state, waiting.datetime_start) == (TrialState.WAITING, None)
    assert waiting.params == held.params
    trials.extend(engine, held)
    assert shown(engine)[0].state == TrialState.WAITING
    for _ in range(2):
        trials.begin(engine, held)
    (begun,) = shown(engine)
    assert begun.state == TrialState.RUNNING
    assert begun.datetime_start is not None


def test_idle_worker_takes_over_what_a_busy_one_claimed_ahead(engine: Engine) -> None:
    study = make_study(engine, budget=1)
    held = take(engine, study, ahead=True)
    taken = take(engine, study, worker_id=2)
    assert (taken.number, taken.attempt, taken.params) == (held.number, 1, held.params)
    for verb in (trials.begin, trials.extend, trials.release):
        with pytest.raises(LeaseLost):
            verb(engine, held)
    assert shown(engine)[0].state == TrialState.RUNNING


def test_nobody_takes_over_what_is_claimed_ahead_for_later_or_begun(engine: Engine) -> None:
    study = make_study(engine, budget=1)
    held = take(engine, study, ahead=True)
    assert isinstance(ahead(engine, study, worker_id=2), StudyProgress)
    trials.begin(engine, held)
    other = claim(engine, study, worker_id=2, lease_seconds=60, propose=proposer(2))
    assert isinstance(other, StudyProgress)


def test_free_slot_comes_before_what_another_worker_claimed_ahead(engine: Engine) -> None:
    study = make_study(engine, budget=2)
    held = take(engine, study, ahead=True)
    assert take(engine, study, worker_id=2).number == 1
    trials.begin(engine, held)


def test_nothing_that_was_claimed_ahead_is_taken_over_once_the_study_is_stopped(
    engine: Engine,
) -> None:
    study = make_study(engine, budget=1)
    take(engine, study, ahead=True)
    stop_study(engine, study)
    other = claim(engine, study, worker_id=2, lease_seconds=60, propose=proposer(2))
    assert isinstance(other, StudyProgress)


def test_lease_that_runs_out_before_the_trial_began_is_no_failure(engine: Engine) -> None:
    study = make_study(engine, budget=1, max_attempts=1)
    held = take(engine, study, ahead=True)
    run_out(engine, held)
    assert trials.reap(engine) == 1
    assert progress(engine, study) == StudyProgress(1, 0, 0, 1, "open")
    with pytest.raises(LeaseLost):
        trials.begin(engine, held)
    assert take(engine, study, worker_id=2).number == 0


def test_released_trial_claimed_ahead_counts_its_attempt_and_keeps_its_start(
    engine: Engine,
) -> None:
    study = make_study(engine, budget=1)
    first = take(engine, study)
    started = shown(engine)[0].datetime_start
    trials.release(engine, first, reports=[(0, 0.5)], blobs={"checkpoint": "a" * 64})
    assert shown(engine)[0].intermediate_values == {0: 0.5}
    assert blob_names(engine, first.trial_id) == {"checkpoint": "a" * 64}
    second = take(engine, study, worker_id=2, ahead=True)
    assert second.attempt == 2
    trials.begin(engine, second)
    assert shown(engine)[0].datetime_start == started
