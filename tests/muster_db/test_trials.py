from __future__ import annotations

from datetime import UTC, datetime, timedelta

import optuna
import pytest
from optuna.trial import TrialState
from sqlalchemy import Engine

from muster.errors import LeaseLost, UserError
from muster_db import blobs, schema, trials
from muster_db.claims import claim
from muster_db.engine import connect
from muster_db.progress import StudyProgress, progress
from samples import make_study, proposer, take
from searches import load, tell


def test_tell_is_exactly_once(engine: Engine) -> None:
    study = make_study(engine, budget=1)
    held = take(engine, study)
    tell(engine, held, 0.5)
    with pytest.raises(LeaseLost):
        tell(engine, held, 0.9)
    assert load(engine, "study").trials[0].value == 0.5
    assert progress(engine, study).told == 1
    found = claim(engine, study, worker_id=1, lease_seconds=60, propose=proposer())
    assert isinstance(found, StudyProgress)
    assert found.is_finished


def test_attempts_run_out_and_the_trial_is_told_failed_with_the_last_error(engine: Engine) -> None:
    study = make_study(engine, budget=1, max_attempts=2)
    assert not trials.fail_attempt(engine, take(engine, study), "Traceback: first")
    assert trials.fail_attempt(engine, take(engine, study), "Traceback: second")
    trial = load(engine, "study").trials[0]
    assert trial.state == TrialState.FAIL
    assert trial.user_attrs["error"] == "Traceback: second"
    assert progress(engine, study).is_finished


def test_optuna_reads_a_trial_as_muster_wrote_it(engine: Engine) -> None:
    study = make_study(engine)
    held = take(engine, study)
    reports = [(0, 0.1), (1, 0.1 + 0.2), (10, float("nan")), (11, float("inf"))]
    trials.report(engine, held, reports[:2])
    trials.report(engine, held, reports[1:])
    tell(engine, held, 1 / 3, attributes={"seconds": 1.25, "Device": "cpu", "device": [1]})
    pruned = take(engine, study)
    tell(engine, pruned, state=TrialState.PRUNED, value=None)
    running = take(engine, study)
    trial, second, third = load(engine, "study").trials
    assert trial.params == held.params
    assert list(trial.params) == list(held.params)
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
    assert load(engine, "study").best_trial.number == 0
    assert load(engine, "study").direction == optuna.study.StudyDirection.MAXIMIZE


def test_values_are_equal_to_the_bit_on_both_servers(sqlite_url: str, mariadb_url: str) -> None:
    seen = []
    for url in (sqlite_url, mariadb_url):
        engine = connect(url)
        schema.initialise(engine)
        study = make_study(engine, budget=20)
        propose = proposer(3)
        for _ in range(20):
            held = take(engine, study, propose=propose)
            value = held.params["learning_rate"] / 3
            trials.report(engine, held, [(0, value * 1e-300), (1, -value * 1e300)])
            tell(engine, held, value)
        seen.append(
            [
                (t.number, repr(t.params), repr(t.value), repr(t.intermediate_values))
                for t in load(engine, "study").trials
            ]
        )
        engine.dispose()
    assert seen[0] == seen[1]


def test_a_new_checkpoint_replaces_the_old_one_and_ends_with_the_trial(engine: Engine) -> None:
    held = take(engine, make_study(engine))
    first, second = (blobs.put(engine, data) for data in (b"first", b"second"))
    trials.attach(engine, held, {"checkpoint": first})
    trials.attach(engine, held, {"checkpoint": second})
    assert trials.blob_names(engine, held.trial_id) == {"checkpoint": second}
    with pytest.raises(blobs.DamagedBlob):
        blobs.get(engine, first)
    oof = blobs.put(engine, b"oof")
    tell(engine, held, blobs={"oof": oof})
    assert trials.blob_names(engine, held.trial_id) == {"oof": oof}


@pytest.mark.parametrize("value", [None, float("nan")])
def test_complete_needs_a_number(engine: Engine, value: float | None) -> None:
    held = take(engine, make_study(engine))
    with pytest.raises(UserError, match="needs a number"):
        tell(engine, held, value=value)


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
