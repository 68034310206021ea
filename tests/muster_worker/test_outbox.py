from __future__ import annotations

import pytest
from benchmarks.servers import Server
from optuna.trial import TrialState
from sqlalchemy import Engine, func, select

from muster.errors import LeaseLost, Unavailable, UserError
from muster_db import blobs, schema, tables, trials
from muster_db.claims import Claim
from muster_db.engine import connect
from muster_db.progress import progress
from muster_db.records import read_reports
from muster_db.study import open_study
from muster_worker.outbox import CHECKPOINT, MOST_REPORTS, PREVIOUS, Ending, Outbox, OutOfTime
from samples import make_study, take


def nothing() -> None:
    """No lease to keep meanwhile."""


def out_of_time() -> None:
    raise OutOfTime("the worker was asked to stop")


def reports(engine: Engine, claim: Claim) -> dict[int, float]:
    with engine.connect() as connection:
        return read_reports(connection, [claim.trial_id]).get(claim.trial_id, {})


def stored(engine: Engine, claim: Claim) -> dict[str, bytes]:
    names = trials.blob_names(engine, claim.trial_id)
    return {name: blobs.get(engine, digest) for name, digest in names.items()}


def test_reports_arrive_in_order_and_a_later_one_of_the_same_step_wins(engine: Engine) -> None:
    claim = take(engine, make_study(engine))
    outbox = Outbox(claim)
    for step, value in [(0, 0.1), (1, 0.2), (1, 0.3), (2, 0.4)]:
        outbox.report(step, value)
    assert outbox.is_due(0.0)
    assert not outbox.is_due(60.0)
    outbox.send(engine, nothing)
    outbox.report(3, 0.5)
    outbox.send(engine, nothing)
    assert not outbox.is_due(0.0)
    assert list(reports(engine, claim).items()) == [(0, 0.1), (1, 0.3), (2, 0.4), (3, 0.5)]


def test_too_many_reports_are_thinned_from_the_oldest(engine: Engine) -> None:
    claim = take(engine, make_study(engine))
    outbox = Outbox(claim)
    for step in range(MOST_REPORTS + 1):
        outbox.report(step, float(step))
    outbox.send(engine, nothing)
    kept = reports(engine, claim)
    assert len(kept) == MOST_REPORTS * 3 // 4 + 1
    assert sorted(kept)[:3] == [0, 2, 4]
    assert sorted(kept)[-2:] == [MOST_REPORTS - 1, MOST_REPORTS]


def test_only_the_newest_checkpoint_is_sent_and_the_one_before_is_kept(engine: Engine) -> None:
    claim = take(engine, make_study(engine))
    outbox = Outbox(claim)
    for checkpoint in (b"older", b"newer"):
        outbox.save(checkpoint)
    outbox.send(engine, nothing)
    assert stored(engine, claim) == {CHECKPOINT: b"newer"}
    for checkpoint in (b"third", b"fourth"):
        outbox.save(checkpoint)
        outbox.send(engine, nothing)
    assert stored(engine, claim) == {CHECKPOINT: b"fourth", PREVIOUS: b"third"}
    with engine.connect() as connection:
        assert connection.execute(select(func.count()).select_from(tables.blobs)).scalar() == 2


def test_resumed_trial_keeps_the_checkpoint_that_it_came_from_as_the_one_before(
    engine: Engine,
) -> None:
    claim = take(engine, make_study(engine))
    digest = blobs.put(engine, b"first")
    trials.attach(engine, claim, {CHECKPOINT: digest})
    outbox = Outbox(claim, stored=digest)
    outbox.save(b"second")
    outbox.send(engine, nothing)
    assert stored(engine, claim) == {CHECKPOINT: b"second", PREVIOUS: b"first"}


def test_ending_tells_value_reports_and_parts_together(engine: Engine) -> None:
    claim = take(engine, make_study(engine))
    outbox = Outbox(claim)
    outbox.report(0, 0.25)
    outbox.save(b"not needed any more")
    outbox.ending = Ending("complete", value=0.5, parts={"oof": b"array"})
    outbox.close(engine, nothing)
    assert reports(engine, claim) == {0: 0.25}
    assert stored(engine, claim) == {"oof": b"array"}
    assert progress(engine, open_study(engine, "study")).told == 1


def test_released_attempt_leaves_its_reports_and_its_checkpoint(engine: Engine) -> None:
    study = make_study(engine)
    claim = take(engine, study)
    outbox = Outbox(claim)
    outbox.report(0, 0.25)
    outbox.ending = Ending("released", checkpoint=b"state")
    outbox.close(engine, nothing)
    assert reports(engine, claim) == {0: 0.25}
    assert stored(engine, claim) == {CHECKPOINT: b"state"}
    assert progress(engine, study).waiting == 1


def test_release_does_not_wait_for_an_upload_that_time_does_not_allow(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    study = make_study(engine)
    outbox = Outbox(take(engine, study))
    outbox.ending = Ending("released", checkpoint=b"state")
    outbox.close(engine, out_of_time)
    assert progress(engine, study).waiting == 1
    assert "no time is left to store its newest checkpoint" in caplog.text


def test_lost_lease_changes_nothing(engine: Engine) -> None:
    study = make_study(engine)
    lost = take(engine, study)
    trials.release(engine, lost)
    other = take(engine, study, worker_id=2)
    outbox = Outbox(lost)
    outbox.report(0, 0.5)
    with pytest.raises(LeaseLost):
        outbox.send(engine, nothing)
    for ending in (
        Ending("complete", value=0.5),
        Ending("pruned"),
        Ending("failed", error="Traceback"),
        Ending("released", checkpoint=b"state"),
    ):
        outbox.ending = ending
        with pytest.raises(LeaseLost):
            outbox.close(engine, nothing)
    assert reports(engine, other) == stored(engine, other) == {}
    assert progress(engine, study).running == 1


def test_value_that_no_database_can_keep_is_refused_and_the_trial_stays(engine: Engine) -> None:
    study = make_study(engine)
    outbox = Outbox(take(engine, study))
    outbox.ending = Ending("complete", value=float("nan"))
    with pytest.raises(UserError, match="COMPLETE needs a number"):
        outbox.close(engine, nothing)
    assert progress(engine, study).running == 1


@pytest.mark.mariadb
def test_what_could_not_be_sent_stays_queued_while_the_server_is_down(
    mariadb: Server, mariadb_url: str
) -> None:
    engine = connect(mariadb_url, patience_seconds=0.1)
    schema.initialise(engine)
    claim = take(engine, make_study(engine), lease_seconds=3600.0)
    outbox = Outbox(claim)
    outbox.report(0, 0.1)
    mariadb.stop()
    try:
        outbox.save(b"state")
        with pytest.raises(Unavailable):
            outbox.send(engine, nothing)
        outbox.report(1, 0.3)
        outbox.ending = Ending("complete", value=0.5, parts={"oof": b"array"})
        with pytest.raises(Unavailable):
            outbox.close(engine, nothing)
    finally:
        mariadb.start()
    outbox.close(engine, nothing)
    assert list(reports(engine, claim).items()) == [(0, 0.1), (1, 0.3)]
    told = tables.optuna_trials.c
    with engine.connect() as connection:
        state = select(told.state).where(told.trial_id == claim.trial_id)
        assert connection.execute(state).scalar_one() == TrialState.COMPLETE
    engine.dispose()
