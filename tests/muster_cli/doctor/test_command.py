from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from sqlalchemy import create_engine, text
from typer.testing import CliRunner

from muster_cli.commands import app
from muster_db import schema
from muster_db.engine import connect
from muster_db.study import create_study
from samples import make_contract


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An SQLite database with the tables, and a cache folder beside it."""
    monkeypatch.setenv("MUSTER_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("MUSTER_DEVICE", raising=False)
    found = f"sqlite:///{tmp_path / 'muster.db'}"
    engine = connect(found)
    schema.initialise(engine)
    engine.dispose()
    return found


def doctor(url: str, *options: str) -> Result:
    return CliRunner().invoke(app, ["doctor", "--db", url, *options])


def judged(result: Result) -> dict[str, Any]:
    return {each["check"]: each for each in json.loads(result.stdout)}


def test_a_sound_machine_and_database_have_nothing_that_fails(url: str) -> None:
    result = doctor(url, "--json")
    assert result.exit_code == 0
    found = judged(result)
    assert set(found) == {
        "Python", "PyTorch", "GPU", "disk", "database", "server", "round trip", "tables", "muster"
    }  # fmt: skip
    assert found["tables"]["found"] == "0 open studies"


def test_a_study_of_another_version_fails_in_the_table_with_its_mend(url: str) -> None:
    engine = connect(url)
    create_study(engine, name="old", contract=make_contract(code_version="0.0.1"), budget=1)
    engine.dispose()
    result = doctor(url)
    assert result.exit_code == 2
    lines = [line.split() for line in result.stdout.splitlines()]
    failed = next(n for n, line in enumerate(lines) if line[0] == "fail")
    assert "old (0.0.1)" in " ".join(lines[failed])
    assert "-> install muster 0.0.1" in " ".join(lines[failed + 1])


def test_tables_of_another_version_fail_with_the_command_that_mends_them(url: str) -> None:
    with create_engine(url).begin() as connection:
        connection.execute(text("UPDATE muster_alembic_version SET version_num = '0001'"))
    result = doctor(url, "--json")
    assert result.exit_code == 2
    assert "muster db upgrade" in judged(result)["tables"]["mend"]


def test_a_database_that_is_not_there_is_not_made(tmp_path: Path, url: str) -> None:
    result = doctor(f"sqlite:///{tmp_path / 'typo.db'}", "--json")
    assert result.exit_code == 2
    assert "muster db init" in judged(result)["tables"]["mend"]
    assert not (tmp_path / "typo.db").exists()


def test_a_database_that_does_not_answer_is_code_3_and_shows_no_password(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("muster_cli.doctor.command.FIRST_SECONDS", 0.1)
    result = doctor("mysql+pymysql://u:s3cret@127.0.0.1:1/d", "--json")
    assert result.exit_code == 3
    assert "does not answer" in judged(result)["database"]["mend"]
    assert "s3cret" not in result.output
