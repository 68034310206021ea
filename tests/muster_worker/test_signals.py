from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, TextClause, text

from commands import finish, started, wait_until
from muster_db import trials
from muster_db.engine import transact
from muster_db.names import CHECKPOINT
from muster_db.progress import StudyProgress, progress
from muster_db.study import Study
from muster_worker.signals import StopRequest, stop_on_signals

SLOW = """
import time
from muster_worker.signals import stop_on_signals
with stop_on_signals() as stop:
    print("ready", flush=True)
    stop.wait()
    print("stopping", flush=True)
    time.sleep(60)
"""


def scalar(engine: Engine, query: TextClause) -> Any:
    return transact(engine, lambda held: held.execute(query).scalar(), read_only=True)


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_first_signal_finishes_the_epoch_releases_the_trial_and_exits_with_0(
    engine: Engine, make_study: Callable[..., Study], tmp_path: Path, sent: signal.Signals
) -> None:
    study = make_study(epochs=100_000)
    command = ("worker", "--study", "study", "--db", str(engine.url))
    count = text("SELECT COUNT(*) FROM trial_intermediate_values")
    with started(*command, folder=tmp_path, MUSTER_HEARTBEAT_SECONDS="0.1") as process:
        wait_until(lambda: bool(scalar(engine, count)), seconds=40)
        process.send_signal(sent)
        began = time.monotonic()
        ended = finish(process)
    assert time.monotonic() - began < 10.0
    assert ended.returncode == 0, ended.stderr
    assert "joined study study as worker 0 on" in ended.stderr
    assert "worker: done (1 released)" in ended.stderr
    assert progress(engine, study) == StudyProgress(4, 0, 0, 2, "open")
    assert scalar(engine, text("SELECT state FROM trials")) == "WAITING"
    trial_id = int(scalar(engine, text("SELECT trial_id FROM trials")))
    assert CHECKPOINT in trials.blob_names(engine, trial_id)


@pytest.mark.parametrize(("second", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_second_signal_exits_at_once(second: signal.Signals, code: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW], stdout=subprocess.PIPE, text=True, bufsize=1
    )
    assert process.stdout is not None
    with process.stdout as lines:
        assert lines.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert lines.readline() == "stopping\n"
        process.send_signal(second)
        assert process.wait(timeout=30) == code


def test_signals_mean_what_they_meant_before_once_the_block_is_left() -> None:
    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)}
    with stop_on_signals() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.wait(10)
        assert (stop.is_set(), stop.signal_number) == (True, signal.SIGTERM)
    assert {each: signal.getsignal(each) for each in before} == before


def test_request_wakes_a_thread_that_waits_and_is_remembered() -> None:
    stop = StopRequest()
    assert not stop.wait(0.0)
    thread = threading.Thread(target=stop.wait)
    thread.start()
    stop.set()
    stop.set()
    thread.join(timeout=10)
    assert not thread.is_alive()
    assert stop.wait()
    stop.close()


def test_signal_in_the_middle_of_a_wait_never_locks_up() -> None:
    for _ in range(200):
        with stop_on_signals() as stop:
            timer = threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGTERM))
            timer.start()
            while not stop.wait(0.0):
                pass
            timer.join()
