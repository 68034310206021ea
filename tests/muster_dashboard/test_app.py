from __future__ import annotations

import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import RDBStorage

from databases import sqlite_with_tables
from muster.errors import UserError
from muster_dashboard.app import create_app, serve
from muster_db.progress import progress
from samples import make_study, run_out, take

DEADLINE_SECONDS = 30


@pytest.fixture
def storage_url(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path}/muster.db"
    storage = RDBStorage(url)
    optuna.create_study(storage=storage, study_name="heartbeats", direction="maximize")
    storage.engine.dispose()
    return url


def ask(app: Any, path: str, *, method: str = "GET", body: bytes = b"") -> tuple[str, bytes]:
    said: list[str] = []
    environ = {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
    }
    content = b"".join(app(environ, lambda status, headers, exc_info=None: said.append(status)))
    return said[0], content


def test_the_study_is_shown(storage_url: str) -> None:
    status, content = ask(create_app(storage_url), "/api/studies")
    assert status.startswith("200")
    assert [each["study_name"] for each in json.loads(content)["study_summaries"]] == [
        "heartbeats"
    ]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", "/api/studies/1"),
        ("POST", "/api/studies/1/rename"),
        ("POST", "/api/studies"),
        ("PUT", "/api/studies/1/note"),
    ],
)
def test_nothing_is_changed_from_the_browser(storage_url: str, method: str, path: str) -> None:
    app = create_app(storage_url)
    body = json.dumps({"study_name": "other", "directions": ["maximize"]}).encode()
    status, content = ask(app, path, method=method, body=body)
    assert status.startswith("403")
    assert "muster study" in json.loads(content)["reason"]
    names = optuna.get_all_study_names(storage=storage_url)
    assert names == ["heartbeats"]


def test_health_is_good_while_the_database_answers(storage_url: str) -> None:
    status, content = ask(create_app(storage_url), "/healthz")
    assert status.startswith("200")
    assert json.loads(content) == {"status": "ok"}


def test_health_is_bad_once_the_database_is_gone(storage_url: str, tmp_path: Path) -> None:
    app = create_app(storage_url)
    for each in tmp_path.glob("muster.db*"):
        each.write_bytes(b"no database at all" * 100)
    status, content = ask(app, "/healthz")
    assert status.startswith("503")
    assert json.loads(content)["status"] == "unavailable"


def test_a_taken_port_is_named(storage_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"127.0.0.1:{port}"):
            serve(storage_url, port=port)


def test_a_port_out_of_range_is_named(storage_url: str) -> None:
    with pytest.raises(UserError, match="70000"):
        serve(storage_url, port=70000)


def test_the_server_answers_and_sigterm_ends_it(storage_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    code = f"from muster_dashboard.app import serve; serve({storage_url!r}, port={port})"
    with subprocess.Popen([sys.executable, "-c", code]) as server:
        try:
            assert wait_for(f"http://127.0.0.1:{port}/healthz") == {"status": "ok"}
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as page:
                assert page.url.endswith("/dashboard")
                assert b"Optuna Dashboard" in page.read()
        finally:
            os.kill(server.pid, signal.SIGTERM)
        assert server.wait(timeout=DEADLINE_SECONDS) == 0


def test_torch_is_never_imported() -> None:
    code = "import sys, muster_dashboard.app; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def wait_for(address: str) -> Any:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while True:
        try:
            with urllib.request.urlopen(address, timeout=5) as answer:
                return json.load(answer)
        except (urllib.error.URLError, ConnectionError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def test_any_request_releases_trials_whose_lease_has_run_out(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/muster.db"
    engine = sqlite_with_tables(tmp_path / "muster.db")
    study = make_study(engine)
    run_out(engine, take(engine, study))
    assert ask(create_app(url), "/healthz")[0].startswith("200")
    assert progress(engine, study).waiting == 1
    engine.dispose()
