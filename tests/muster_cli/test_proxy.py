from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from commands import started
from databases import sqlite_with_tables
from muster.errors import UserError
from muster.settings import Settings
from muster_cli.commands import app
from muster_cli.options import database_url


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an empty database, where commands run in-process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MUSTER_DB_URL", "sqlite:///muster.db")
    sqlite_with_tables(tmp_path / "muster.db").dispose()
    return tmp_path


def refusal(*arguments: str) -> str:
    """What muster says of these arguments."""
    result = CliRunner().invoke(app, arguments)
    assert isinstance(result.exception, UserError)
    return str(result.exception)


def test_worker_finds_the_studies_of_a_proxys_database(folder: Path) -> None:
    with started("proxy", "--listen", "127.0.0.1:0", folder=folder) as process:
        assert process.stderr is not None
        said = process.stderr.readline()
        place = said.split()[1]
        assert said.startswith("proxy: grpc://127.0.0.1:")
        assert "for sqlite:///muster.db, 10 connections at most" in said
        problem = refusal("worker", "--db", place)
        assert problem.startswith(f"{place}: there is no study to serve")
        checked = CliRunner().invoke(app, ["doctor", "--db", place, "--json"])
        assert {"tables", "round trip"} <= {each["check"] for each in json.loads(checked.stdout)}
        process.terminate()
        assert process.wait(timeout=60) == 0
        assert process.stderr.read() == "proxy: done\n"


def test_what_a_proxy_may_not_be_is_said_before_it_listens(folder: Path) -> None:
    (folder / "token").write_text("too short\n")
    (folder / "none.pem").write_text("no certificate\n")
    pair = ("--certificate", "none.pem", "--key", "none.pem")
    assert "other machines" in refusal("proxy", "--listen", "0.0.0.0:0")
    assert "write HOST:PORT" in refusal("proxy", "--listen", "localhost")
    assert "No such file" in refusal("proxy", "--token-file", "absent")
    assert "without spaces" in refusal("proxy", "--token-file", "token")
    assert "name a PEM certificate and its own key" in refusal("proxy", *pair)
    assert "serves `muster worker` alone" in refusal("proxy", "--db", "grpc://localhost")


@pytest.mark.parametrize("command", ["status", "study list", "data list", "db gc", "db init"])
def test_other_commands_are_sent_to_the_database_itself(folder: Path, command: str) -> None:
    said = refusal(*command.split(), "--db", "grpcs://:0123456789abcdef@db.example.org")
    assert "serves `muster worker` alone" in said
    assert "0123456789abcdef" not in said


def test_token_comes_out_of_the_password_file(folder: Path) -> None:
    (folder / "token").write_text("0123456789abcdef\n")
    settings = Settings(db_url="grpcs://here?ca=a.pem", db_password_file=folder / "token")
    assert database_url(settings) == "grpcs://:0123456789abcdef@here?ca=a.pem"
    file = settings.model_copy(update={"db_url": "sqlite:///muster.db"})
    assert database_url(file) == "sqlite:///muster.db"
