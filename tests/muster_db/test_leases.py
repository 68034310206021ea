from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from benchmarks.servers import Server
from optuna.trial import TrialState
from sqlalchemy import Engine, select, update

from commands import wait_until
from databases import Emptied
from muster.errors import LeaseLost
from muster_db import blobs, leases, records, trials
from muster_db.claims import Claim, claim
from muster_db.clock import clock
from muster_db.engine import connect
from muster_db.progress import StudyProgress, progress
from muster_db.study import Study
from muster_db.tables import blobs as table
from muster_db.tables import trials as table_of_trials
from muster_db.tables import workers
from muster_db.workers import list_workers, register
from samples import make_study, proposer, run_out, take
from searches import load, tell


def take_any(engine: Engine, study: Study, *, worker_id: int = 2) -> Claim | StudyProgress:
    propose = proposer(worker_id)
    return claim(engine, study, worker_id=worker_id, lease_seconds=60, propose=propose)


def test_late_tell_raises_and_changes_nothing(engine: Engine) -> None:
    study = make_study(engine)
    first = take(engine, study)
    run_out(engine, first)
    second = take(engine, study, worker_id=2)
    before = load(engine, "study").trials
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
    assert load(engine, "study").trials == before
    tell(engine, second, 0.4)
    assert load(engine, "study").trials[0].value == 0.4


def test_expired_lease_is_taken_back_while_nobody_else_has_the_trial(engine: Engine) -> None:
    study = make_study(engine)
    held = take(engine, study)
    run_out(engine, held)
    assert trials.reap(engine) == 1
    assert load(engine, "study").trials[0].state == TrialState.WAITING
    trials.extend(engine, held)
    assert load(engine, "study").trials[0].state == TrialState.RUNNING
    assert trials.reap(engine) == 0
    tell(engine, held)
    assert load(engine, "study").trials[0].state == TrialState.COMPLETE


def expire(engine: Engine, held: Claim) -> None:
    run_out(engine, held)
    assert trials.reap(engine) == 1


def test_trial_that_kills_its_workers_is_told_failed(engine: Engine) -> None:
    study = make_study(engine, budget=1, max_attempts=2)
    run_out(engine, take(engine, study))
    last = take(engine, study, worker_id=2)
    expire(engine, last)
    expire(engine, last)
    assert load(engine, "study").trials[0].state == TrialState.FAIL
    assert "attempt 2 ran out" in load(engine, "study").trials[0].user_attrs["error"]
    assert progress(engine, study).is_finished
    assert trials.reap(engine) == 0
    with pytest.raises(LeaseLost):
        tell(engine, last)


def test_last_attempt_waits_one_more_lease_for_its_worker(engine: Engine) -> None:
    study = make_study(engine, budget=1, max_attempts=1)
    held = take(engine, study, lease_seconds=3600)
    expire(engine, held)
    for _ in range(2):
        assert take_any(engine, study) == StudyProgress(1, 0, 0, 1, "open")
    assert trials.reap(engine) == 0
    trials.extend(engine, held)
    assert load(engine, "study").trials[0].state == TrialState.RUNNING
    tell(engine, held)
    assert load(engine, "study").trials[0].state == TrialState.COMPLETE


def test_no_worker_waits_for_ever_for_a_last_attempt(engine: Engine) -> None:
    study = make_study(engine, budget=2, max_attempts=1)
    held = take(engine, study)
    tell(engine, take(engine, study))
    for waiting in (1, 0):
        run_out(engine, held)
        found = take_any(engine, study)
        assert found == StudyProgress(2, 2 - waiting, 0, waiting, "open")


def test_outages_of_a_worker_that_comes_back_are_no_failures(engine: Engine) -> None:
    study = make_study(engine, budget=1, max_attempts=2)
    held = take(engine, study)
    for _ in range(3):
        expire(engine, held)
        trials.extend(engine, held)
    expire(engine, held)
    assert take(engine, study, worker_id=2).attempt == 2


def test_an_expired_attempt_that_failed_counts_once(engine: Engine) -> None:
    study = make_study(engine, budget=1, max_attempts=2)
    held = take(engine, study)
    expire(engine, held)
    assert not trials.fail_attempt(engine, held, "Traceback: first")
    assert trials.fail_attempt(engine, take(engine, study), "Traceback: second")


def test_an_expired_lease_that_is_given_back_is_no_failure(engine: Engine) -> None:
    study = make_study(engine, budget=1, max_attempts=1)
    held = take(engine, study)
    expire(engine, held)
    trials.release(engine, held)
    assert take(engine, study, worker_id=2).attempt == 2


@pytest.mark.parametrize("way", ["reaped", "looked for", "failed"])
def test_checkpoints_of_a_trial_that_fails_leave_no_blob_behind(engine: Engine, way: str) -> None:
    study = make_study(engine, budget=2, max_attempts=1)
    held, other = take(engine, study), take(engine, study)
    own, shared = (blobs.put(engine, data) for data in (b"own", b"shared"))
    trials.attach(engine, held, {"checkpoint": own, "checkpoint.previous": shared})
    trials.attach(engine, other, {"checkpoint": shared})
    if way == "failed":
        trials.fail_attempt(engine, held, "Traceback")
    else:
        expire(engine, held)
        run_out(engine, held)
        if way == "reaped":
            trials.reap(engine)
        else:
            take_any(engine, study)
    assert load(engine, "study").trials[0].state == TrialState.FAIL
    assert trials.blob_names(engine, held.trial_id) == {}
    assert blobs.get(engine, shared) == b"shared"
    with engine.connect() as connection:
        assert connection.execute(select(table.c.sha)).scalars().all() == [shared]


def test_extending_and_waiting_for_a_trial_show_the_worker_as_seen(engine: Engine) -> None:
    study = make_study(engine, budget=1)
    worker, other = (register(engine, study, host="h", device="cpu") for _ in range(2))
    held = take(engine, study, worker_id=worker.worker_id)
    with engine.begin() as connection:
        connection.execute(update(workers).values(seen_at=clock(-3600)))
    trials.extend(engine, held)
    first, second = list_workers(engine, study)
    assert (first.seen_at - second.seen_at).total_seconds() > 3500
    waiting = claim(engine, study, worker_id=other.worker_id, lease_seconds=60, propose=proposer())
    assert isinstance(waiting, StudyProgress)
    assert list_workers(engine, study)[1].seen_at >= first.seen_at


@pytest.mark.mariadb
def test_reaping_many_trials_never_holds_the_study_while_it_waits_for_a_trial(
    mariadb: Server, emptied: Emptied
) -> None:
    engine = connect(emptied.url(), connections=2)
    study = make_study(engine)
    early, late = (take(engine, study, worker_id=worker) for worker in (1, 2))
    for held in (early, late):
        run_out(engine, held)
    # A verb of the later trial's worker, half way: it has its trial and now wants the study.
    with ThreadPoolExecutor(1) as pool:
        with engine.begin() as connection:
            mine = update(table_of_trials).where(table_of_trials.c.trial_id == late.trial_id)
            connection.execute(mine.values(expires_at=clock(60)))
            reaping = pool.submit(trials.reap, engine)
            wait_until(lambda: waiting_transactions(mariadb) == 1)
            leases.mark_changed(connection, study.study_id, late.trial_id)
        assert reaping.result(30) == 1
    assert progress(engine, study) == StudyProgress(4, 0, 1, 1, "open")
    engine.dispose()


@pytest.mark.mariadb
def test_a_trial_that_is_drawn_anew_keeps_nobody_from_claiming_the_next(emptied: Emptied) -> None:
    engine = connect(emptied.url(), connections=2)
    study = make_study(engine)
    held = take(engine, study, ahead=True)
    with ThreadPoolExecutor(1) as pool, engine.begin() as connection:
        records.replace_params(connection, held.trial_id, proposer(9)())
        assert pool.submit(take, engine, study, worker_id=2).result(10).number == 1
    engine.dispose()


def waiting_transactions(server: Server) -> int:
    """How many wait for a lock."""
    waiting = "SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"
    with server.connect(password="") as connection, connection.cursor() as cursor:
        cursor.execute(waiting)
        row = cursor.fetchone()
        return int(row[0]) if row else 0
