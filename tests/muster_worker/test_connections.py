from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Barrier, Event
from typing import Any

import pytest
from benchmarks.coordination.pretending import pretend
from benchmarks.coordination.task import Clock, Pretence, make_study
from benchmarks.servers import PASSWORD, Server
from sqlalchemy import Connection, Engine, event

from muster.evaluation import EpochReport
from muster.settings import Settings
from muster_db import schema
from muster_db.engine import connect, transact
from muster_db.faults import code_of
from muster_db.progress import progress
from muster_worker import desk, run
from muster_worker.loop import work
from muster_worker.machine import Machine

WORKERS = 100
USER = "crowd"
CONNECTIONS = "SELECT COUNT(*) FROM information_schema.processlist"
TOO_MANY_OF_ONE_USER = 1226


def ask(server: Server, statement: str, *values: Any) -> int:
    """What the server answers its root with, or 0."""
    with server.connect(password="") as connection, connection.cursor() as cursor:
        cursor.execute(statement, values or None)
        row = cursor.fetchone()
        return int(row[0]) if row else 0


@dataclass
class Meeting:
    """Trials that begin when all workers have one, and go on once a stop is asked for."""

    everybody_trains: Barrier
    stop: Event


@pytest.fixture
def meeting(monkeypatch: pytest.MonkeyPatch) -> Meeting:
    found = Meeting(Barrier(WORKERS + 1), Event())

    class Waiting(Pretence):
        def epochs(self, *, should_stop: Any = None) -> Iterator[EpochReport]:
            found.everybody_trains.wait(60)
            found.stop.wait(60)
            return super().epochs(should_stop=should_stop)

    monkeypatch.setattr(desk, "Context", desk.Context)
    monkeypatch.setattr(run, "_parts", run._parts)
    pretend(lambda claim: Waiting(claim.params, Clock(), 0.0))
    return found


@dataclass
class Crowd:
    """A user whom the server grants a connection a worker, and refuses one more."""

    server: Server
    url: str

    def connections(self) -> int:
        """How many it has now, as the server counts them."""
        return ask(self.server, f"{CONNECTIONS} WHERE user = %s", USER)


@pytest.fixture
def crowd(mariadb: Server, mariadb_url: str) -> Iterator[Crowd]:
    user = f"'{USER}'@'127.0.0.1'"
    limit = f"WITH MAX_USER_CONNECTIONS {WORKERS}"
    ask(mariadb, f"CREATE USER {user} IDENTIFIED BY %s {limit}", PASSWORD)
    ask(mariadb, f"GRANT ALL ON `muster%`.* TO {user}")
    # Without TLS: the driver reads the system's certificates for each connection, 50 ms each.
    yield Crowd(mariadb, mariadb_url.replace("//muster:", f"//{USER}:") + "?ssl_disabled=true")
    ask(mariadb, f"DROP USER {user}")


@pytest.fixture
def refusals() -> Iterator[list[int | None]]:
    """The codes of what servers refuse from now on, of every engine."""
    codes: list[int | None] = []

    def note(context: Any) -> None:
        codes.append(code_of(context.sqlalchemy_exception))

    event.listen(Engine, "handle_error", note)
    yield codes
    event.remove(Engine, "handle_error", note)


@pytest.mark.mariadb
def test_a_hundred_workers_at_once_hold_a_hundred_connections(
    crowd: Crowd,
    meeting: Meeting,
    refusals: list[int | None],
    tmp_path: Path,
    machine: Machine,
) -> None:
    engine = connect(crowd.url)
    schema.initialise(engine)
    # Each claims another one ahead.
    study = make_study(engine, name="study", budget=2 * WORKERS)
    engine.dispose()
    settings = Settings(cache_dir=tmp_path, probe_seconds=0)

    stop = meeting.stop

    def serve(_: int) -> Counter[str]:
        own = connect(crowd.url)
        ended = work(own, study_name="study", machine=machine, settings=settings, stop=stop)
        own.dispose()
        return Counter(ended.counts)

    with ThreadPoolExecutor(WORKERS) as pool:
        workers = [pool.submit(serve, number) for number in range(WORKERS)]
        meeting.everybody_trains.wait(60)
        held = crowd.connections()
        stop.set()
        counts = sum((worker.result() for worker in workers), Counter())
    assert held == WORKERS
    assert TOO_MANY_OF_ONE_USER not in refusals
    assert counts == Counter(released=WORKERS)
    assert progress(engine, study).running == 0
    engine.dispose()


@pytest.mark.mariadb
def test_a_thread_waits_for_the_one_connection(mariadb: Server, mariadb_url: str) -> None:
    engine = connect(mariadb_url)

    def count(_: Connection) -> int:
        return ask(mariadb, f"{CONNECTIONS} WHERE db = %s", engine.url.database)

    with ThreadPoolExecutor(1) as pool:
        with engine.begin():
            other = pool.submit(transact, engine, count)
            with pytest.raises(TimeoutError):
                other.result(0.3)
        assert other.result(30) == 1
    engine.dispose()
