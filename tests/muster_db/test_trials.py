from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import optuna
import pymysql
import pytest
from optuna.trial import TrialState
from sqlalchemy import Connection, Engine, event, func, select, update
from sqlalchemy.exc import OperationalError

from muster.errors import LeaseLost, UserError
from muster_db import blobs, schema, trials
from muster_db.budget import extend_budget
from muster_db.clock import clock
from muster_db.engine import connect
from muster_db.study import (
    StudyProgress,
    delete_study,
    open_study,
    progress,
    resume_study,
    stop_study,
)
from muster_db.tables import optuna_trials
from muster_db.tables import trials as table
from muster_db.trials import Claim
from samples import make_study, proposer, take


def run_out(engine: Engine, claim: Claim) -> None:
    """Move the lease's end into the past instead of waiting for it."""
    with engine.begin() as connection:
        connection.execute(
            update(table).where(table.c.trial_id == claim.trial_id).values(expires_at=clock(-1.0))
        )


def tell(engine: Engine, claim: Claim, value: float | None = 0.5, **changes: Any) -> None:
    facts: dict[str, Any] = {
        "state": TrialState.COMPLETE,
        "value": value,
        "attributes": {},
        "blobs": {},
    }
    trials.tell(engine, claim, **(facts | changes))


def load(engine: Engine, name: str = "study") -> optuna.Study:
    url = engine.url.render_as_string(hide_password=False)
    return optuna.load_study(study_name=name, storage=url)


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
            claim := trials.claim(
                own, study, worker_id=worker_id, lease_seconds=60, propose=propose
            ),
            Claim,
        ):
            found.append(claim)
            tell(own, claim)
        own.dispose()
        return found

    with ThreadPoolExecutor(8) as pool:
        claims = [claim for part in pool.map(work, range(8)) for claim in part]
    assert sorted(claim.number for claim in claims) == list(range(21))
    assert len({claim.trial_id for claim in claims}) == 21
    assert progress(engine, study) == StudyProgress(21, 21, 0, 0, "open")
    assert [trial.number for trial in load(engine).trials] == list(range(21))
    engine.dispose()


def test_second_worker_cannot_claim_a_live_trial(engine: Engine) -> None:
    study = make_study(engine, budget=1)
    take(engine, study)
    found = trials.claim(engine, study, worker_id=2, lease_seconds=60, propose=proposer(2))
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
    assert load(engine).trials[0].state == TrialState.RUNNING


def test_late_tell_raises_and_changes_nothing(engine: Engine) -> None:
    study = make_study(engine)
    first = take(engine, study)
    run_out(engine, first)
    second = take(engine, study, worker_id=2)
    before = load(engine).trials
    late: list[Callable[[], object]] = [
        lambda: tell(engine, first, 0.9, attributes={"late": True}),
        lambda: trials.extend(engine, first),
        lambda: trials.report(engine, first, [(0, 0.9)]),
        lambda: trials.attach(engine, first, {"checkpoint": "0" * 64}),
        lambda: trials.release(engine, first),
        lambda: trials.fail_attempt(engine, first, "late"),
    ]
    for verb in late:
        with pytest.raises(LeaseLost):
            verb()
    assert load(engine).trials == before
    tell(engine, second, 0.4)
    assert load(engine).trials[0].value == 0.4


def test_tell_is_exactly_once(engine: Engine) -> None:
    study = make_study(engine, budget=1)
    claim = take(engine, study)
    tell(engine, claim, 0.5)
    with pytest.raises(LeaseLost):
        tell(engine, claim, 0.9)
    assert load(engine).trials[0].value == 0.5
    assert progress(engine, study).told == 1
    found = trials.claim(engine, study, worker_id=1, lease_seconds=60, propose=proposer())
    assert isinstance(found, StudyProgress)
    assert found.is_finished


def test_released_trial_waits_and_is_claimed_at_once(engine: Engine) -> None:
    study = make_study(engine)
    first = take(engine, study)
    trials.release(engine, first)
    assert load(engine).trials[0].state == TrialState.WAITING
    assert progress(engine, study).waiting == 1
    with pytest.raises(LeaseLost):
        trials.extend(engine, first)
    second = take(engine, study, worker_id=2)
    assert (second.number, second.attempt) == (first.number, 2)


def test_expired_lease_is_taken_back_while_nobody_else_has_the_trial(engine: Engine) -> None:
    study = make_study(engine)
    claim = take(engine, study)
    run_out(engine, claim)
    assert trials.reap(engine) == 1
    assert load(engine).trials[0].state == TrialState.WAITING
    trials.extend(engine, claim)
    assert load(engine).trials[0].state == TrialState.RUNNING
    assert trials.reap(engine) == 0
    tell(engine, claim)
    assert load(engine).trials[0].state == TrialState.COMPLETE


def test_attempts_run_out_and_the_trial_is_told_failed_with_the_last_error(engine: Engine) -> None:
    study = make_study(engine, budget=1, max_attempts=2)
    assert not trials.fail_attempt(engine, take(engine, study), "Traceback: first")
    assert trials.fail_attempt(engine, take(engine, study), "Traceback: second")
    trial = load(engine).trials[0]
    assert trial.state == TrialState.FAIL
    assert trial.user_attrs["error"] == "Traceback: second"
    assert progress(engine, study).is_finished


def test_trial_that_kills_its_workers_is_told_failed(engine: Engine) -> None:
    study = make_study(engine, budget=1, max_attempts=2)
    run_out(engine, take(engine, study))
    run_out(engine, take(engine, study, worker_id=2))
    assert trials.reap(engine, study) == 1
    assert load(engine).trials[0].state == TrialState.FAIL
    assert "ran out" in load(engine).trials[0].user_attrs["error"]


def test_optuna_reads_a_trial_as_muster_wrote_it(engine: Engine) -> None:
    study = make_study(engine)
    claim = take(engine, study)
    reports = [(0, 0.1), (1, 0.1 + 0.2), (10, float("nan")), (11, float("inf"))]
    trials.report(engine, claim, reports[:2])
    trials.report(engine, claim, reports[1:])
    tell(engine, claim, 1 / 3, attributes={"seconds": 1.25, "Device": "cpu", "device": [1]})
    pruned = take(engine, study)
    tell(engine, pruned, state=TrialState.PRUNED, value=None)
    running = take(engine, study)
    trial, second, third = load(engine).trials
    assert trial.params == claim.params
    assert list(trial.params) == list(claim.params)
    assert trial.value == 1 / 3
    assert repr(trial.intermediate_values) == repr(dict(reports))
    assert trial.user_attrs == {"seconds": 1.25, "Device": "cpu", "device": [1]}
    assert [trial.state, second.state, third.state] == [
        TrialState.COMPLETE,
        TrialState.PRUNED,
        TrialState.RUNNING,
    ]
    assert third.params == running.params
    assert trial.datetime_start is not None
    assert trial.datetime_complete is not None
    now = datetime.now(UTC).astimezone().replace(tzinfo=None)
    assert now - timedelta(minutes=1) < trial.datetime_start <= trial.datetime_complete <= now
    assert third.datetime_complete is None
    assert load(engine).best_trial.number == 0
    assert load(engine).direction == optuna.study.StudyDirection.MAXIMIZE


def test_values_are_equal_to_the_bit_on_both_servers(sqlite_url: str, mariadb_url: str) -> None:
    seen = []
    for url in (sqlite_url, mariadb_url):
        engine = connect(url)
        schema.initialise(engine)
        study = make_study(engine, budget=20)
        propose = proposer(3)
        for _ in range(20):
            claim = take(engine, study, propose=propose)
            value = claim.params["learning_rate"] / 3
            trials.report(engine, claim, [(0, value * 1e-300), (1, -value * 1e300)])
            tell(engine, claim, value)
        seen.append(
            [
                (t.number, repr(t.params), repr(t.value), repr(t.intermediate_values))
                for t in load(engine).trials
            ]
        )
        engine.dispose()
    assert seen[0] == seen[1]


def test_configuration_that_another_took_meanwhile_is_drawn_again(engine: Engine) -> None:
    study = make_study(engine)
    first = take(engine, study, propose=proposer(5))
    second = take(engine, study, worker_id=2, propose=proposer(5))
    assert second.params != first.params
    assert second.number == 1


def test_stopped_study_gives_no_work_until_it_is_resumed(engine: Engine) -> None:
    study = make_study(engine)
    stop_study(engine, study)
    found = trials.claim(engine, study, worker_id=1, lease_seconds=60, propose=proposer())
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


def test_deleted_study_leaves_no_trial_and_its_name_is_free(engine: Engine) -> None:
    study = make_study(engine)
    claim = take(engine, study)
    trials.report(engine, claim, [(0, 0.5)])
    delete_study(engine, study)
    with engine.connect() as connection:
        for each in (table, optuna_trials):
            assert connection.execute(select(func.count()).select_from(each)).scalar() == 0
    with pytest.raises(UserError, match="there is no study 'study'"):
        open_study(engine, "study")
    take(engine, make_study(engine))


def test_study_that_optuna_deletes_does_not_leave_its_ids_taken(engine: Engine) -> None:
    take(engine, make_study(engine))
    url = engine.url.render_as_string(hide_password=False)
    optuna.delete_study(study_name="study", storage=url)
    assert take(engine, make_study(engine)).number == 0


def test_a_new_checkpoint_replaces_the_old_one_and_ends_with_the_trial(engine: Engine) -> None:
    claim = take(engine, make_study(engine))
    first, second = (blobs.put(engine, data) for data in (b"first", b"second"))
    trials.attach(engine, claim, {"checkpoint": first})
    trials.attach(engine, claim, {"checkpoint": second})
    assert trials.blob_names(engine, claim.trial_id) == {"checkpoint": second}
    with pytest.raises(blobs.DamagedBlob):
        blobs.get(engine, first)
    oof = blobs.put(engine, b"oof")
    tell(engine, claim, blobs={"oof": oof})
    assert trials.blob_names(engine, claim.trial_id) == {"oof": oof}


@pytest.mark.parametrize("value", [None, float("nan")])
def test_complete_needs_a_number(engine: Engine, value: float | None) -> None:
    claim = take(engine, make_study(engine))
    with pytest.raises(UserError, match="needs a number"):
        tell(engine, claim, value=value)


@pytest.fixture
def lose_next_commit(engine: Engine) -> Callable[[], None]:
    """Lets the next commit take effect and its answer be lost."""
    is_armed = threading.Event()

    def commit(connection: Connection) -> None:
        if is_armed.is_set():
            is_armed.clear()
            connection.connection.commit()
            raise OperationalError("COMMIT", None, pymysql.err.OperationalError(2013, "lost"))

    event.listen(engine, "commit", commit)
    return is_armed.set


def test_an_answer_lost_after_the_commit_repeats_nothing(
    engine: Engine, lose_next_commit: Callable[[], None]
) -> None:
    study = make_study(engine, budget=2, max_attempts=3)
    take(engine, study)
    lose_next_commit()
    claim = take(engine, study, worker_id=2)
    lossy: list[Callable[[Claim], object]] = [
        lambda held: trials.release(engine, held),
        lambda held: trials.fail_attempt(engine, held, "once"),
        lambda held: trials.fail_attempt(engine, held, "twice"),
    ]
    for give_back in lossy:
        lose_next_commit()
        give_back(claim)
        claim = take(engine, study, worker_id=2)
    lose_next_commit()
    tell(engine, claim, 0.5)
    assert (claim.number, claim.attempt) == (1, 4)
    assert progress(engine, study) == StudyProgress(2, 1, 1, 0, "open")
    assert [trial.number for trial in load(engine).trials] == [0, 1]


def test_checkpoints_of_a_told_trial_leave_no_blob_behind(engine: Engine) -> None:
    held = take(engine, make_study(engine))
    shas = {
        "checkpoint": blobs.put(engine, b"newest"),
        "checkpoint.previous": blobs.put(engine, b"before"),
    }
    trials.attach(engine, held, shas)
    trials.tell(engine, held, state=TrialState.COMPLETE, value=0.5, attributes={}, blobs={})
    for sha in shas.values():
        with pytest.raises(blobs.DamagedBlob):
            blobs.get(engine, sha)
