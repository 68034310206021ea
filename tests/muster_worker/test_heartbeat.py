from __future__ import annotations

from collections.abc import Callable

import pytest
from benchmarks.servers import Server
from sqlalchemy import Engine, func, select

from commands import wait_until
from muster.errors import LeaseLost, Unavailable
from muster_db import blobs, schema, tables, trials
from muster_db.claims import Claim
from muster_db.engine import connect
from muster_db.records import read_reports
from muster_db.tables import trials as table
from muster_worker.heartbeat import CHECKPOINT, Heartbeat
from samples import make_study, take

HOUR = 3600.0


def nothing() -> None:
    """Refreshes nothing."""


def beating(
    engine: Engine,
    claim: Claim,
    *,
    seconds: float = HOUR,
    refresh: Callable[[], None] = lambda: None,
) -> Heartbeat:
    return Heartbeat(engine, claim, interval_seconds=seconds, refresh=refresh)


def reports(engine: Engine, claim: Claim) -> dict[int, float]:
    with engine.connect() as connection:
        return read_reports(connection, [claim.trial_id]).get(claim.trial_id, {})


def checkpoint(engine: Engine, claim: Claim) -> bytes:
    return blobs.get(engine, trials.blob_names(engine, claim.trial_id)[CHECKPOINT])


def test_each_beat_extends_the_lease_sends_what_is_queued_and_refreshes(engine: Engine) -> None:
    claim = take(engine, make_study(engine))
    ends = select(table.c.expires_at).where(table.c.trial_id == claim.trial_id)
    with engine.connect() as connection:
        before = connection.execute(ends).scalar_one()
    seen: list[int] = []
    with beating(engine, claim, seconds=0.01, refresh=lambda: seen.append(1)) as heartbeat:
        heartbeat.report(0, 0.5)
        heartbeat.save(b"state")
        wait_until(lambda: len(seen) > 2)
    with engine.connect() as connection:
        assert connection.execute(ends).scalar_one() > before
    assert reports(engine, claim) == {0: 0.5}
    assert checkpoint(engine, claim) == b"state"
    assert not heartbeat.is_lost.is_set()


def test_reports_arrive_in_order_and_a_later_one_of_the_same_step_wins(engine: Engine) -> None:
    claim = take(engine, make_study(engine))
    heartbeat = beating(engine, claim)
    for step, value in [(0, 0.1), (1, 0.2), (1, 0.3), (2, 0.4)]:
        heartbeat.report(step, value)
    heartbeat.flush()
    heartbeat.report(3, 0.5)
    heartbeat.flush()
    heartbeat.flush()
    assert list(reports(engine, claim).items()) == [(0, 0.1), (1, 0.3), (2, 0.4), (3, 0.5)]


def test_only_the_newest_checkpoint_is_sent(engine: Engine) -> None:
    claim = take(engine, make_study(engine))
    heartbeat = beating(engine, claim)
    heartbeat.save(b"older")
    heartbeat.save(b"newer")
    heartbeat.flush()
    assert checkpoint(engine, claim) == b"newer"
    with engine.connect() as connection:
        stored = select(func.count()).select_from(tables.blobs)
        assert connection.execute(stored).scalar_one() == 1


def test_lost_lease_is_noticed_and_nothing_more_is_sent(engine: Engine) -> None:
    study = make_study(engine)
    claim = take(engine, study)
    trials.release(engine, claim)
    other = take(engine, study, worker_id=2)
    with beating(engine, claim, seconds=0.01) as heartbeat:
        heartbeat.report(0, 0.5)
        assert heartbeat.is_lost.wait(timeout=20)
    with pytest.raises(LeaseLost):
        heartbeat.flush()
    assert reports(engine, other) == {}


def test_a_refused_beat_is_logged_and_the_next_one_comes(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    claim = take(engine, make_study(engine))
    tries: list[int] = []

    def refresh() -> None:
        tries.append(1)
        if len(tries) == 1:
            raise Unavailable("the database is away")

    with beating(engine, claim, seconds=0.01, refresh=refresh):
        wait_until(lambda: len(tries) > 1)
    assert "training goes on without: the database is away" in caplog.text


@pytest.mark.mariadb
def test_what_could_not_be_sent_stays_queued_while_the_server_is_down(
    mariadb: Server, mariadb_url: str
) -> None:
    engine = connect(mariadb_url, patience_seconds=0.1)
    schema.initialise(engine)
    claim = take(engine, make_study(engine), lease_seconds=HOUR)
    heartbeat = beating(engine, claim)
    heartbeat.report(0, 0.1)
    mariadb.stop()
    try:
        heartbeat.report(1, 0.2)
        heartbeat.save(b"state")
        with pytest.raises(Unavailable):
            heartbeat.flush()
        heartbeat.report(2, 0.3)
    finally:
        mariadb.start()
    heartbeat.flush()
    assert list(reports(engine, claim).items()) == [(0, 0.1), (1, 0.2), (2, 0.3)]
    assert checkpoint(engine, claim) == b"state"
    engine.dispose()
