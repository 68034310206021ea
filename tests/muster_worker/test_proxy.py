"""A worker that reaches its database through a proxy alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest
from sqlalchemy import Engine

from commands import wait_until
from muster.settings import Settings
from muster_db import claims, trials
from muster_db.names import CHECKPOINT
from muster_db.progress import StudyProgress, progress
from muster_db.proxy.client import Remote
from muster_db.proxy.server import Door, serving
from muster_db.records import read_reports
from muster_db.study import Study
from muster_worker.loop import work
from muster_worker.machine import Machine
from muster_worker.outbox import Outbox
from muster_worker.run import Context
from proxies import HERE, LOOPBACK, url_of
from samples import run_out
from searches import load

MakeStudy = Callable[..., Study]


def test_worker_ends_the_budget_exactly_and_takes_over_what_a_killed_one_left(
    engine: Engine,
    make_study: MakeStudy,
    context: Callable[[Study], Context],
    settings: Settings,
    machine: Machine,
) -> None:
    study = make_study(budget=3)
    with serving(url_of(engine), HERE, connections=2) as port:
        remote = Remote(f"grpc://{LOOPBACK}:{port}")
        held = context(study)
        killed = claims.claim(
            remote,
            study,
            worker_id=99,
            lease_seconds=60.0,
            propose=lambda: held.mirror.propose(held.space.suggest, worker_ordinal=9),
        )
        assert isinstance(killed, claims.Claim)
        evaluation = held.evaluate(killed, None)
        epochs = evaluation.epochs(should_stop=lambda: False)
        outbox = Outbox(killed)
        for _ in range(5):
            outbox.report(next(epochs).epoch, 0.5)
        outbox.save(evaluation.checkpoint())
        outbox.send(remote, pulse=lambda: None)
        assert CHECKPOINT in trials.blob_names(engine, killed.trial_id)
        run_out(engine, killed)
        ended = work(remote, study_name="study", machine=machine, settings=settings, stop=Event())
        remote.dispose()
    assert ended.counts == Counter(complete=3)
    assert progress(engine, study) == StudyProgress(3, 3, 0, 0, "open")
    told = load(engine, "study").trials
    assert [trial.user_attrs["attempt"] for trial in told] == [2, 1, 1]
    # The epochs before the checkpoint are the first attempt's: it went on, not anew.
    assert told[0].intermediate_values[0] == 0.5
    assert told[0].params == killed.params
    kept = {"oof", "test", "curves", "fold0", "fold1"}
    assert [trials.blob_names(engine, n).keys() for n in (1, 2, 3)] == [kept] * 3


def test_worker_trains_on_while_its_proxy_is_gone(
    engine: Engine,
    make_study: MakeStudy,
    settings: Settings,
    machine: Machine,
    caplog: pytest.LogCaptureFixture,
) -> None:
    study = make_study(budget=2, epochs=100_000)
    stop = Event()

    def reports() -> int:
        with engine.connect() as connection:
            return len(read_reports(connection, [1])[1])

    with ThreadPoolExecutor(1) as thread:
        with serving(url_of(engine), HERE, connections=2) as port:
            remote = Remote(f"grpc://{LOOPBACK}:{port}")
            working = thread.submit(
                work, remote, study_name="study", machine=machine, settings=settings, stop=stop
            )
            wait_until(lambda: reports() > 0)
        before = reports()
        wait_until(lambda: "training goes on without the database" in caplog.text)
        with serving(url_of(engine), Door(LOOPBACK, port), connections=2):
            wait_until(lambda: reports() > before)
            stop.set()
            assert working.result(timeout=60).counts == Counter(released=1)
    remote.dispose()
    assert "the proxy does not answer" in caplog.text
    assert progress(engine, study) == StudyProgress(2, 0, 0, 2, "open")
