"""A large study, the dashboard that serves it, and a worker that tells trials meanwhile."""

from __future__ import annotations

import random
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Final

from benchmarks.coordination.fill import DISTRIBUTIONS, fill
from benchmarks.coordination.task import CHOICE, FLOATS, make_study
from benchmarks.readers.crowd import READY_SECONDS
from benchmarks.servers import free_port
from optuna.trial import TrialState
from sqlalchemy import Engine

from muster_db import claims, schema, trials
from muster_db.claims import Claim
from muster_db.records import Proposal
from muster_db.study import Study
from muster_db.workers import register

STUDY: Final = "benchmark"
SERVING: Final = (
    "import sys; from muster_dashboard.server import serve; "
    "serve(sys.argv[1], port=int(sys.argv[2]), announce=lambda link: print(link, flush=True))"
)


def prepare(engine: Engine, *, filled: int, reports: int) -> Study:
    """The study, filled, with trials of its budget left."""
    schema.initialise(engine)
    study = make_study(engine, name=STUDY, budget=filled + 10_000)
    fill(engine, study, trials=filled, reports=reports)
    return study


@contextmanager
def served(url: str) -> Iterator[str]:
    """The dashboard as `muster dashboard` serves it; its link."""
    command = [sys.executable, "-c", SERVING, url, str(free_port())]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            if server.stdout is None:
                raise RuntimeError("the server says nothing")
            link = server.stdout.readline().strip()
            _wait_for(link.partition("?")[0] + "healthz")
            yield link
        finally:
            server.terminate()


def log_in(link: str) -> str:
    """The cookie that the link gives."""

    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *arguments: object) -> None:
            return None

    try:
        urllib.request.build_opener(Stay).open(link, timeout=READY_SECONDS)
    except urllib.error.HTTPError as answer:
        return str(answer.headers["Set-Cookie"]).partition(";")[0]
    raise RuntimeError("the link does not lead on")


@contextmanager
def told_meanwhile(engine: Engine, study: Study) -> Iterator[None]:
    """A worker tells a trial each second."""
    worker = register(engine, study, host="host", device="cpu")
    stop = Event()
    chance = random.Random(1)

    def propose() -> Proposal:
        params = {name: chance.uniform(*bounds) for name, bounds in FLOATS.items()}
        return Proposal({**params, CHOICE[0]: chance.choice(CHOICE[1])}, DISTRIBUTIONS)

    def work() -> None:
        while not stop.wait(1.0):
            held = claims.claim(
                engine, study, worker_id=worker.worker_id, lease_seconds=60, propose=propose
            )
            if isinstance(held, Claim):
                facts: dict[str, object] = {"seconds": 1.0}
                trials.report(engine, held, [(step, 0.5) for step in range(10)])
                trials.tell(
                    engine,
                    held,
                    state=TrialState.COMPLETE,
                    value=chance.random(),
                    attributes=facts,
                    blobs={},
                )

    thread = Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _wait_for(address: str) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
