from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from benchmarks.servers import PASSWORD, Server, free_port
from sqlalchemy import Connection, Engine, event, select, text, update

from databases import sqlite_with_tables
from muster.errors import AccessDenied, MusterError, Unavailable, UserError
from muster_db import blobs, schema
from muster_db.database import write_often
from muster_db.engine import connect, now, transact
from muster_db.tables import studies
from samples import make_study


def failure(url: str) -> MusterError:
    engine = connect(url, patience_seconds=0.2)
    with pytest.raises(MusterError) as caught:
        schema.check(engine)
    engine.dispose()
    assert "\n" not in str(caught.value)
    assert "Traceback" not in str(caught.value)
    return caught.value


@pytest.mark.mariadb
def test_wrong_password_is_one_message_without_it(mariadb: Server, mariadb_url: str) -> None:
    error = failure(mariadb.url("muster_x", password="swordfish"))
    assert isinstance(error, AccessDenied)
    assert "password is wrong" in str(error)
    assert "swordfish" not in str(error)


@pytest.mark.mariadb
def test_unknown_database_is_one_message(mariadb: Server) -> None:
    error = failure(mariadb.url("muster_absent"))
    assert isinstance(error, UserError)
    assert "no database of that name" in str(error)
    assert PASSWORD not in str(error)


@pytest.mark.parametrize(
    "place",
    ["no-such-host.invalid:3306", f"127.0.0.1:{free_port()}"],
    ids=["unknown host", "closed port"],
)
def test_unknown_host_and_closed_port_are_one_message(place: str) -> None:
    error = failure(f"mysql+pymysql://muster:swordfish@{place}/muster")
    assert isinstance(error, Unavailable)
    assert "does not answer" in str(error)
    assert "swordfish" not in str(error)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("not a url with swordfish", "cannot be read"),
        ("mysql://muster:swordfish@host/muster", r"mysql\+pymysql://"),
        ("postgresql://muster:swordfish@host/muster", "not a database that muster knows"),
        ("mysql+pymysql://muster:swordfish@host", "no database is named"),
        ("sqlite://", "needs a file"),
    ],
)
def test_url_that_names_no_usable_database_is_refused(url: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        connect(url)
    assert "swordfish" not in str(caught.value)


def test_sqlite_file_in_a_missing_folder_is_one_message(tmp_path: Path) -> None:
    assert "cannot be opened" in str(failure(f"sqlite:///{tmp_path}/absent/muster.db"))


def test_file_that_is_no_database_is_one_message(tmp_path: Path) -> None:
    path = tmp_path / "notes.db"
    path.write_text("these are notes, and no database" * 100)
    assert "not an SQLite database" in str(failure(f"sqlite:///{path}"))


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Engine]:
    engine = sqlite_with_tables(tmp_path / "muster.db", patience_seconds=0.2)
    yield engine
    engine.dispose()


def test_readonly_sqlite_file_is_one_message(sqlite: Engine) -> None:
    url = f"sqlite:///file:{sqlite.url.database}?mode=ro&uri=true"
    engine = connect(url, patience_seconds=0.2)
    with pytest.raises(UserError, match="read-only"):
        make_study(engine)
    engine.dispose()


def test_full_disk_is_one_message_and_work_goes_on_once_there_is_room(sqlite: Engine) -> None:
    with sqlite.connect() as connection:
        pages = connection.execute(text("PRAGMA page_count")).scalar_one()
        connection.execute(text(f"PRAGMA max_page_count = {pages + 2}"))
    with pytest.raises(Unavailable, match="disk is full"):
        blobs.put(sqlite, b"\x01" * 300_000)
    with sqlite.connect() as connection:
        connection.execute(text("PRAGMA max_page_count = 1000000"))
    assert len(blobs.get(sqlite, blobs.put(sqlite, b"\x01" * 300_000))) == 300_000


def test_clock_is_the_databases_in_utc(engine: Engine) -> None:
    moment = transact(engine, now)
    assert abs((datetime.now(UTC).replace(tzinfo=None) - moment).total_seconds()) < 60


@pytest.mark.mariadb
def test_a_deadlock_is_retried(mariadb_url: str) -> None:
    engine = connect(mariadb_url, connections=2)
    schema.initialise(engine)
    ids = [make_study(engine, name=name).study_id for name in ("a", "b")]
    meet = threading.Barrier(2)
    tries: list[int] = []

    def verb(connection: Connection, order: list[int]) -> None:
        is_first = order[0] not in tries
        tries.append(order[0])
        for position, study_id in enumerate(order):
            connection.execute(
                update(studies)
                .where(studies.c.study_id == study_id)
                .values(priority=studies.c.priority + 1)
            )
            if position == 0 and is_first:
                meet.wait(timeout=30)

    other = threading.Thread(target=lambda: transact(engine, lambda c: verb(c, ids[::-1])))
    other.start()
    transact(engine, lambda connection: verb(connection, ids))
    other.join()
    assert len(tries) == 3
    with engine.connect() as connection:
        assert list(connection.execute(select(studies.c.priority)).scalars()) == [2, 2]
    engine.dispose()


@pytest.mark.mariadb
@pytest.mark.parametrize("way", ["stop", "kill"])
def test_a_server_that_restarts_in_the_middle_is_waited_for(
    mariadb: Server, mariadb_url: str, way: str
) -> None:
    engine = connect(mariadb_url)
    schema.initialise(engine)
    study = make_study(engine)
    restarts = iter([True])

    def verb(connection: Connection) -> int:
        change = update(studies).where(studies.c.study_id == study.study_id)
        connection.execute(change.values(priority=studies.c.priority + 1))
        if next(restarts, False):
            getattr(mariadb, way)()
            threading.Thread(target=mariadb.start).start()
        query = select(studies.c.priority).where(studies.c.study_id == study.study_id)
        return int(connection.execute(query).scalar_one())

    assert transact(engine, verb) == 1
    engine.dispose()


def test_an_error_message_never_shows_parameters(engine: Engine) -> None:
    @event.listens_for(engine, "handle_error")
    def keep(context: object) -> None:
        seen.append(str(getattr(context, "sqlalchemy_exception", "")))

    seen: list[str] = []
    with pytest.raises(MusterError):
        transact(engine, lambda c: c.execute(text("SELECT :x FROM nowhere"), {"x": "swordfish"}))
    assert seen
    assert not any("swordfish" in line for line in seen)


@pytest.mark.mariadb
def test_reads_left_open_see_what_others_commit_and_keep_no_write_back(mariadb_url: str) -> None:
    one, other = connect(mariadb_url), connect(mariadb_url)
    write_often(one)

    def count(engine: Engine) -> int:
        found = transact(
            engine,
            lambda connection: connection.exec_driver_sql("SELECT COUNT(*) FROM seen").scalar(),
            read_only=True,
        )
        return int(found or 0)

    def add(connection: Connection) -> None:
        connection.exec_driver_sql("INSERT INTO seen VALUES (1)")

    transact(other, lambda connection: connection.exec_driver_sql("CREATE TABLE seen (x INTEGER)"))
    assert count(one) == 0
    transact(other, add)
    assert count(one) == 1
    with pytest.raises(ZeroDivisionError):
        transact(one, lambda _: 1 / 0, read_only=True)
    assert count(one) == 1
    transact(one, add)
    assert (count(other), count(one)) == (2, 2)
    one.dispose()
    transact(other, lambda connection: connection.exec_driver_sql("DROP TABLE seen"))
    other.dispose()
