"""Fixtures that several packages' tests share."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import torch
from sqlalchemy import Engine

# The tests' own helpers (servers, samples) are modules beside this file.
sys.path.insert(0, str(Path(__file__).parent))

from benchmarks.servers import Server, server_binary

from commands import RUN, Finished, finish, start, write_example
from databases import Emptied, sqlite_with_tables
from muster_db.engine import connect

# A shell starts what runs in the background with SIGINT ignored, and processes inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# What a power cut would cost is not tested here, and a table made takes a tenth of the time.
NO_SYNC = ("--loose-debug-no-sync",)
NO_SERVER = "no mariadbd or mysqld here: install mariadb-server to run the MySQL half of the tests"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the stack's and the system's tests, which mostly wait, first: others run beside them.

    Then those that start commands: the quick ones are left for the end, when processes run out of
    files to take. What needs a GPU is left out where there is none, and counted as deselected.
    """
    if not torch.cuda.is_available():
        left_out = [item for item in items if item.get_closest_marker("cuda") is not None]
        items[:] = [item for item in items if item.get_closest_marker("cuda") is None]
        config.hook.pytest_deselected(items=left_out)
    items.sort(
        key=lambda item: (
            item.get_closest_marker("docker") is None,
            "system" not in item.path.parent.name,
            not _starts_commands(item.path),
        )
    )


@cache
def _starts_commands(path: Path) -> bool:
    return "from commands import" in path.read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def mariadb() -> Iterator[Server]:
    """A server of the session's own; skips where none is installed, fails under CI=true."""
    if server_binary() is None:
        if os.environ.get("CI") == "true":
            pytest.fail(NO_SERVER)
        pytest.skip(NO_SERVER)
    # Not below pytest's own folder: another run of pytest closes that to the server's user.
    with tempfile.TemporaryDirectory(prefix="muster-mariadb-") as folder:
        server = Server(Path(folder), options=NO_SYNC)
        server.install()
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture
def mariadb_url(mariadb: Server) -> Iterator[str]:
    """An empty database on the session's server."""
    name = f"muster_{uuid.uuid4().hex[:12]}"
    yield mariadb.make_database(name)
    mariadb.drop_database(name)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """An SQLite file that does not exist yet."""
    return f"sqlite:///{tmp_path / 'muster.db'}"


@pytest.fixture(scope="session")
def emptied(mariadb: Server) -> Emptied:
    """The database of the session's server that tests which bring no tables of their own share."""
    return Emptied(mariadb, "muster_emptied")


@pytest.fixture(params=["sqlite", pytest.param("mariadb", marks=pytest.mark.mariadb)])
def kind(request: pytest.FixtureRequest) -> str:
    """Each kind of server in turn."""
    name: str = request.param
    return name


@pytest.fixture
def database_url(kind: str, request: pytest.FixtureRequest) -> str:
    """An empty database without tables, on each kind of server in turn."""
    url: str = request.getfixturevalue(f"{kind}_url")
    return url


@pytest.fixture
def lite(tmp_path: Path) -> Iterator[Engine]:
    """An engine on an initialised SQLite file."""
    connected = sqlite_with_tables(tmp_path / "lite.db")
    yield connected
    connected.dispose()


@pytest.fixture
def engine(kind: str, request: pytest.FixtureRequest) -> Iterator[Engine]:
    """An engine on an initialised database without rows, on each kind of server in turn."""
    if kind == "sqlite":
        connected = sqlite_with_tables(request.getfixturevalue("tmp_path") / "engine.db")
    else:
        # Threads of a test may share it, as processes share a server.
        connected = connect(request.getfixturevalue("emptied").url(), connections=4)
    yield connected
    connected.dispose()


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """RUN, ended; tests only read what it left. Processes of one test run share the search."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    folder, said = tmp_path_factory.mktemp("finished"), root / "ended.json"
    with (root / "ended.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not said.exists():
            _run_once(root / "ended", said)
        # A copy each: who reads an SQLite file writes beside it.
        shutil.copytree(root / "ended", folder, dirs_exist_ok=True)
    return Finished(folder, subprocess.CompletedProcess(**json.loads(said.read_text())))


def _run_once(folder: Path, said: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    write_example(folder)
    # From the first import on, as a user starts it.
    ended = finish(start(*RUN, folder=folder))
    assert ended.returncode == 0, ended.stderr
    said.write_text(json.dumps(vars(ended)))
