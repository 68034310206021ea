from __future__ import annotations

import pytest
from optuna.trial import TrialState
from sqlalchemy import Engine, update

from muster.errors import UserError
from muster_db.budget import extend_budget
from muster_db.claims import Claim, claim
from muster_db.clock import clock
from muster_db.ensembles import Snapshot, record, revision
from muster_db.limits import Limits
from muster_db.progress import StudyProgress, progress
from muster_db.study import Study, create_study, open_study
from muster_db.tables import studies
from muster_db.trials import tell
from samples import make_contract, proposer

PROPOSE = proposer()


def make(engine: Engine, limits: Limits) -> Study:
    return create_study(engine, name="study", contract=make_contract(), budget=50, limits=limits)


def take(engine: Engine, study: Study) -> Claim | StudyProgress:
    return claim(engine, study, worker_id=1, lease_seconds=60, propose=PROPOSE)


def finish(engine: Engine, held: Claim | StudyProgress, value: float | None) -> None:
    assert isinstance(held, Claim)
    state = TrialState.PRUNED if value is None else TrialState.COMPLETE
    tell(engine, held, state=state, value=value, attributes={}, blobs={})


def test_patience_ends_a_study_after_so_many_trials_without_a_better_value(
    engine: Engine,
) -> None:
    study = make(engine, Limits(patience=3))
    for value in (0.5, 0.7, 0.7, None, 0.6):
        finish(engine, take(engine, study), value)
    ended = take(engine, study)
    assert isinstance(ended, StudyProgress)
    assert (ended.budget, ended.told, ended.is_finished) == (5, 5, True)


def test_a_better_value_renews_the_patience(engine: Engine) -> None:
    study = make(engine, Limits(patience=2))
    for value in (0.5, 0.4, 0.6, 0.5):
        finish(engine, take(engine, study), value)
    assert isinstance(take(engine, study), Claim)


def test_trials_that_run_when_the_patience_ends_are_told_and_no_more(engine: Engine) -> None:
    study = make(engine, Limits(patience=1))
    first, second, third = (take(engine, study) for _ in range(3))
    finish(engine, first, 0.9)
    finish(engine, second, 0.1)
    waiting = take(engine, study)
    assert isinstance(waiting, StudyProgress)
    assert not waiting.is_finished
    finish(engine, third, 0.2)
    assert progress(engine, study).is_finished
    assert progress(engine, study).told == 3


def test_no_trial_begins_after_the_time_limit(engine: Engine) -> None:
    study = make(engine, Limits(seconds=3600))
    finish(engine, take(engine, study), 0.5)
    with engine.begin() as connection:
        connection.execute(update(studies).values(ends_at=clock(-1)))
    ended = take(engine, study)
    assert isinstance(ended, StudyProgress)
    assert (ended.budget, ended.is_finished) == (1, True)


def test_asking_for_more_trials_lifts_the_limits(engine: Engine) -> None:
    study = make(engine, Limits(patience=1))
    for value in (0.5, 0.4):
        finish(engine, take(engine, study), value)
    assert isinstance(take(engine, study), StudyProgress)
    extend_budget(engine, study, trials=2)
    for value in (0.3, 0.2):
        finish(engine, take(engine, study), value)
    assert progress(engine, study).told == 4


def estimate(engine: Engine, study: Study, nested: float, *, is_judged: bool = True) -> None:
    """Record an estimate of all that has been told."""
    snapshot = Snapshot(
        trials=1, rule="soft", asked="soft", metric="macro_f1", members=(), nested=nested, low=0,
        high=1, naive=nested, single=0, single_nested=0, single_naive=0, p_value=1,
    )  # fmt: skip
    seen = revision(engine, study)
    record(engine, study, snapshot, revision=seen, is_judged=is_judged)


def test_patience_on_the_ensemble_ends_a_study_once_an_estimate_saw_that_nothing_helped(
    lite: Engine,
) -> None:
    study = make(lite, Limits(patience=2, patience_on="ensemble"))
    assert open_study(lite, "study").limits == study.limits
    for value in (0.1, 0.2):
        finish(lite, take(lite, study), value)
    estimate(lite, study, 0.6)
    for value in (0.8, 0.9):
        finish(lite, take(lite, study), value)
    finish(lite, take(lite, study), None)
    estimate(lite, study, 0.9, is_judged=False)
    held = take(lite, study)
    assert isinstance(held, Claim), "no estimate that counts has looked at these"
    estimate(lite, study, 0.6)
    ended = take(lite, study)
    assert isinstance(ended, StudyProgress)
    assert ended.budget == 6
    finish(lite, held, 0.1)
    assert progress(lite, study).is_finished


def test_a_better_estimate_renews_the_patience_and_a_better_trial_does_not(lite: Engine) -> None:
    study = make(lite, Limits(patience=2, patience_on="ensemble"))
    for nested in (0.6, 0.5, 0.7, 0.65):
        finish(lite, take(lite, study), 0.5)
        estimate(lite, study, nested)
    finish(lite, take(lite, study), 0.99)
    estimate(lite, study, 0.7)
    assert isinstance(take(lite, study), StudyProgress)
    extend_budget(lite, study, trials=1, limits=study.limits)
    assert isinstance(take(lite, study), Claim)


def test_the_best_trials_patience_goes_on_where_estimates_are_made(lite: Engine) -> None:
    study = make(lite, Limits(patience=1))
    finish(lite, take(lite, study), 0.5)
    estimate(lite, study, 0.6)
    finish(lite, take(lite, study), 0.4)
    assert isinstance(take(lite, study), StudyProgress)


def test_limits_that_leave_nothing_are_refused() -> None:
    with pytest.raises(UserError, match="leaves no time"):
        Limits(seconds=0)
    with pytest.raises(UserError, match="leaves no trial"):
        Limits(patience=0)
