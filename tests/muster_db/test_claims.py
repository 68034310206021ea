from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest
from optuna.distributions import CategoricalDistribution
from optuna.trial import TrialState
from sqlalchemy import Engine, select

from commands import wait_until
from muster.errors import LeaseLost
from muster_db import schema, trials
from muster_db.budget import extend_budget
from muster_db.claims import Claim, claim
from muster_db.engine import connect
from muster_db.limits import Limits
from muster_db.mirror import Mirror
from muster_db.progress import StudyProgress, progress
from muster_db.records import Proposal
from muster_db.study import Study, resume_study, stop_study
from muster_db.tables import studies
from samples import make_study, proposer, run_out, take
from searches import load, tell


def test_parallel_claimers_get_exactly_the_budget_with_unique_numbers(database_url: str) -> None:
    engine = connect(database_url)
    schema.initialise(engine)
    study = make_study(engine, budget=21)
    start = threading.Barrier(8)

    def work(worker_id: int) -> list[Claim]:
        own = connect(database_url)
        start.wait()
        found = []
        propose = proposer(worker_id)
        while isinstance(
            held := claim(own, study, worker_id=worker_id, lease_seconds=60, propose=propose),
            Claim,
        ):
            found.append(held)
            tell(own, held)
        own.dispose()
        return found

    with ThreadPoolExecutor(8) as pool:
        claims = [held for part in pool.map(work, range(8)) for held in part]
    assert sorted(held.number for held in claims) == list(range(21))
    assert len({held.trial_id for held in claims}) == 21
    assert progress(engine, study) == StudyProgress(21, 21, 0, 0, "open")
    assert [trial.number for trial in load(engine, "study").trials] == list(range(21))
    engine.dispose()


def test_second_worker_cannot_claim_a_live_trial(engine: Engine) -> None:
    study = make_study(engine, budget=1)
    take(engine, study)
    found = claim(engine, study, worker_id=2, lease_seconds=60, propose=proposer(2))
    assert found == StudyProgress(budget=1, told=0, running=1, waiting=0, state="open")


def test_expired_lease_goes_to_another_with_the_same_number_and_params(engine: Engine) -> None:
    study = make_study(engine)
    first = take(engine, study)
    run_out(engine, first)
    second = take(engine, study, worker_id=2)
    assert (second.trial_id, second.number, second.params) == (
        first.trial_id,
        first.number,
        first.params,
    )
    assert (first.attempt, second.attempt) == (1, 2)
    assert load(engine, "study").trials[0].state == TrialState.RUNNING


def test_released_trial_waits_and_is_claimed_at_once(engine: Engine) -> None:
    study = make_study(engine)
    first = take(engine, study)
    trials.release(engine, first)
    assert load(engine, "study").trials[0].state == TrialState.WAITING
    assert progress(engine, study).waiting == 1
    with pytest.raises(LeaseLost):
        trials.extend(engine, first)
    second = take(engine, study, worker_id=2)
    assert (second.number, second.attempt) == (first.number, 2)


def test_configuration_that_another_took_meanwhile_is_drawn_again(engine: Engine) -> None:
    study = make_study(engine)
    first = take(engine, study, propose=proposer(5))
    second = take(engine, study, worker_id=2, propose=proposer(5))
    assert second.params != first.params
    assert second.number == 1


def test_stopped_study_gives_no_work_until_it_is_resumed(engine: Engine) -> None:
    study = make_study(engine)
    stop_study(engine, study)
    found = claim(engine, study, worker_id=1, lease_seconds=60, propose=proposer())
    assert isinstance(found, StudyProgress)
    assert found.is_stopped
    resume_study(engine, study)
    assert take(engine, study).number == 0


def test_extended_budget_opens_new_slots(engine: Engine) -> None:
    study = make_study(engine, budget=1)
    tell(engine, take(engine, study))
    extend_budget(engine, study, trials=1)
    assert not progress(engine, study).is_finished
    assert take(engine, study, worker_id=2).number == 1


def test_worker_takes_trials_that_it_failed_itself_after_all_else(engine: Engine) -> None:
    study = make_study(engine, budget=4)
    failed, left = take(engine, study), take(engine, study, worker_id=2)
    trials.fail_attempt(engine, failed, "Traceback")
    trials.release(engine, left)
    taken = [take(engine, study).number for _ in range(4)]
    assert taken == [left.number, 2, 3, failed.number]


def test_another_worker_takes_a_failed_trial_at_once(engine: Engine) -> None:
    study = make_study(engine)
    failed = take(engine, study)
    trials.fail_attempt(engine, failed, "Traceback")
    assert take(engine, study, worker_id=2).number == failed.number


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
    assert progress(engine, study) == StudyProgress(1, 0, 0, 0, "open", ahead=1)
    (waiting,) = load(engine, "study").trials
    assert (waiting.state, waiting.datetime_start) == (TrialState.WAITING, None)
    assert waiting.params == held.params
    trials.extend(engine, held)
    assert load(engine, "study").trials[0].state == TrialState.WAITING
    for _ in range(2):
        trials.begin(engine, held)
    (begun,) = load(engine, "study").trials
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
    assert load(engine, "study").trials[0].state == TrialState.RUNNING


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
    started = load(engine, "study").trials[0].datetime_start
    trials.release(engine, first, reports=[(0, 0.5)], blobs={"checkpoint": "a" * 64})
    assert load(engine, "study").trials[0].intermediate_values == {0: 0.5}
    assert trials.blob_names(engine, first.trial_id) == {"checkpoint": "a" * 64}
    second = take(engine, study, worker_id=2, ahead=True)
    assert second.attempt == 2
    trials.begin(engine, second)
    assert load(engine, "study").trials[0].datetime_start == started


def test_trial_begins_with_the_configuration_that_it_was_drawn_anew_as(engine: Engine) -> None:
    study = make_study(engine, budget=2)
    held = take(engine, study, ahead=True)
    mirror = Mirror(engine, study)
    mirror.refresh()
    redrawn = proposer(9)()
    for _ in range(2):
        trials.begin(engine, held, redrawn=redrawn)
    (begun,) = load(engine, "study").trials
    assert (begun.params, begun.state) == (redrawn.params, TrialState.RUNNING)
    mirror.refresh()
    assert mirror.trials[0].params == redrawn.params
    again = take(engine, study, propose=proposer(9))
    assert again.params != redrawn.params


def a_choice() -> Proposal:
    """What another worker may draw as well, for nothing of it is continuous."""
    return Proposal(
        {"architecture": "gru"}, {"architecture": CategoricalDistribution(("gru", "x"))}
    )


def test_configuration_that_another_worker_has_is_not_begun(engine: Engine) -> None:
    study = make_study(engine, budget=2)
    held = take(engine, study, ahead=True)
    take(engine, study, propose=a_choice)
    with pytest.raises(LeaseLost, match="another worker has its configuration"):
        trials.begin(engine, held, redrawn=a_choice())
    assert load(engine, "study").trials[0].params == held.params
    trials.release(engine, held)
    assert take(engine, study, worker_id=3).number == 0


@pytest.mark.mariadb
def test_two_that_begin_the_same_configuration_at_once_do_not_both_have_it(
    mariadb_url: str,
) -> None:
    engine = connect(mariadb_url)
    schema.initialise(engine)
    study = make_study(engine, budget=2)
    held = [take(engine, study, worker_id=worker, ahead=True) for worker in range(2)]
    redrawn = a_choice()
    owns = [connect(mariadb_url) for _ in held]
    locked = select(studies).where(studies.c.study_id == study.study_id).with_for_update()
    waiting = "SELECT COUNT(*) FROM information_schema.processlist WHERE state = 'Updating'"
    with ThreadPoolExecutor(2) as pool:
        with engine.begin() as connection:
            connection.execute(locked)
            begun = [
                pool.submit(trials.begin, own, claim, redrawn=redrawn)
                for own, claim in zip(owns, held, strict=True)
            ]
            wait_until(lambda: connection.exec_driver_sql(waiting).scalar() == 2)
        errors = [each.exception() for each in begun]
    for each in (engine, *owns):
        each.dispose()
    assert [type(error) for error in errors if error] == [LeaseLost]


@pytest.mark.parametrize("way", ["given back", "run out"])
def test_trial_that_never_began_has_had_no_attempt(engine: Engine, way: str) -> None:
    study = make_study(engine, budget=1)
    held = take(engine, study, ahead=True)
    if way == "given back":
        trials.release(engine, held)
    else:
        run_out(engine, held)
        assert trials.reap(engine) == 1
    again = take(engine, study, worker_id=2)
    assert (again.number, again.attempt) == (0, 1)
    trials.release(engine, again)
    assert take(engine, study, worker_id=3).attempt == 2


def test_hurried_claim_takes_a_slot_only_where_nobody_left_a_trial(engine: Engine) -> None:
    study = make_study(engine, budget=3)
    asked = count()

    def propose() -> Proposal:
        return proposer(next(asked))()

    first = take(engine, study, propose=propose, ahead=True, hurry=True)
    assert (first.number, next(asked)) == (0, 1)
    trials.release(engine, first)
    again = take(engine, study, worker_id=2, propose=propose, ahead=True, hurry=True)
    assert again.number == 0
    numbers = [take(engine, study, propose=propose, ahead=True, hurry=True).number for _ in "ab"]
    assert numbers == [1, 2]
    over = claim(
        engine, study, worker_id=3, lease_seconds=60.0, propose=propose, ahead=True, hurry=True
    )
    assert over == StudyProgress(3, 0, 0, 0, "open", ahead=3)


def test_hurried_claim_heeds_the_limits_of_a_study(engine: Engine) -> None:
    study = make_study(engine, budget=3, limits=Limits(patience=1))
    for _ in range(2):
        tell(engine, take(engine, study))
    over = claim(
        engine, study, worker_id=1, lease_seconds=60.0, propose=proposer(), ahead=True, hurry=True
    )
    assert isinstance(over, StudyProgress)
    assert over.is_finished
