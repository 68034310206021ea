from __future__ import annotations

import json
import sqlite3
from importlib.metadata import version
from pathlib import Path

import pytest
from sqlalchemy import update
from typer.testing import CliRunner, Result

from commands import write_example
from databases import sqlite_with_tables
from muster.errors import UserError
from muster_cli.commands import app
from muster_db import blobs, datasets, study
from muster_db.clock import clock
from muster_db.engine import connect
from muster_db.tables import blobs as blob_table
from muster_db.tables import datasets as dataset_table
from samples import make_contract, make_dataset


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a database that holds a study and its dataset, where commands run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MUSTER_DB_URL", "sqlite:///muster.db")
    monkeypatch.setenv("MUSTER_CACHE_DIR", str(tmp_path / "cache"))
    engine = sqlite_with_tables(tmp_path / "muster.db")
    fingerprint = datasets.store(engine, make_dataset())
    contract = make_contract(dataset_fingerprint=fingerprint)
    study.create_study(engine, name="kept", contract=contract, budget=3)
    engine.dispose()
    return tmp_path


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


def dump(path: Path) -> list[str]:
    """All that an SQLite database holds."""
    connection = sqlite3.connect(path)
    try:
        return list(connection.iterdump())
    finally:
        connection.close()


def test_backup_is_restored_into_a_new_database(folder: Path) -> None:
    made = call("db", "backup", "backup.zip")
    assert made.exit_code == 0
    assert "backup.zip: 1 studies, 0 trials, 1 datasets, 1 blobs" in made.stdout
    restored = call("db", "restore", "backup.zip", "--db", "sqlite:///copy.db")
    assert restored.exit_code == 0
    assert "sqlite:///copy.db: restored 1 studies" in restored.stdout
    assert "kept" in call("study", "list", "--db", "sqlite:///copy.db").stdout
    before = dump(folder / "copy.db")
    again = call("db", "restore", "backup.zip", "--db", "sqlite:///copy.db")
    assert isinstance(again.exception, UserError)
    assert "not an empty database" in str(again.exception)
    assert dump(folder / "copy.db") == before


def test_restoring_a_file_that_is_not_there_makes_no_database(folder: Path) -> None:
    refused = call("db", "restore", "missing.zip", "--db", "sqlite:///typo.db")
    assert "missing.zip: the backup cannot be read" in str(refused.exception)
    assert not (folder / "typo.db").exists()


def test_gc_says_what_went(folder: Path) -> None:
    engine = connect("sqlite:///muster.db")
    blobs.put(engine, b"loose")
    with engine.begin() as connection:
        connection.execute(update(blob_table).values(used_at=clock(-7200.0)))
        connection.execute(update(dataset_table).values(stored_at=clock(-7200.0)))
    engine.dispose()
    assert json.loads(call("db", "gc", "--json").stdout) == {
        "blobs": 1,
        "blob_bytes": 5,
        "artifacts": 0,
        "datasets": 0,
    }
    assert call("study", "delete", "kept", "--yes").exit_code == 0
    assert "1 blobs" in call("db", "gc", "--datasets").stdout
    assert "0 blobs (0.0 MB), 0 artifacts, 0 datasets removed" in call("db", "gc").stdout


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            "UPDATE muster_studies SET contract = replace(contract, '0.1.0', '9.9.9')",
            "muster 9.9.9",
        ),
        ("DELETE FROM muster_datasets", "its dataset 'sample'"),
    ],
    ids=["another version", "no dataset"],
)
def test_worker_that_does_not_fit_the_contract_is_refused_and_leaves_no_trace(
    folder: Path, change: str, message: str
) -> None:
    assert version("muster") == "0.1.0"
    connection = sqlite3.connect(folder / "muster.db")
    with connection:
        connection.execute(change)
    connection.close()
    before = dump(folder / "muster.db")
    refused = call("worker", "--study", "kept", "--device", "cpu")
    assert isinstance(refused.exception, UserError)
    assert message in str(refused.exception)
    assert dump(folder / "muster.db") == before


def test_study_whose_dataset_is_gone_is_not_resumed_and_its_budget_stays(folder: Path) -> None:
    connection = sqlite3.connect(folder / "muster.db")
    with connection:
        connection.execute("DELETE FROM muster_datasets")
    connection.close()
    before = dump(folder / "muster.db")
    refused = call("study", "resume", "kept", "--trials", "2")
    assert isinstance(refused.exception, UserError)
    assert "muster data add" in str(refused.exception)
    assert dump(folder / "muster.db") == before


@pytest.mark.parametrize("budget", ["0", "-1"])
def test_budget_that_asks_for_nothing_is_refused(folder: Path, budget: str) -> None:
    write_example(folder)
    before = dump(folder / "muster.db")
    asked = ["study", "create", "new", "--data", "sample", "--space", "space.toml", "--folds", "2"]
    refused = call(*asked, "--trials", budget)
    assert isinstance(refused.exception, UserError)
    assert f"a budget of {budget} trials asks for nothing" in str(refused.exception)
    assert dump(folder / "muster.db") == before


@pytest.mark.parametrize(
    "command",
    [["worker", "--study"], ["study", "resume"], ["study", "stop"]],
    ids=" ".join,
)
def test_unknown_study_is_refused_with_the_known_ones(folder: Path, command: list[str]) -> None:
    before = dump(folder / "muster.db")
    refused = call(*command, "nobody")
    assert isinstance(refused.exception, UserError)
    assert "there is no study 'nobody'; the studies here: kept" in str(refused.exception)
    assert dump(folder / "muster.db") == before


def test_search_goes_on_from_its_backup(folder: Path) -> None:
    write_example(folder)
    work = ("worker", "--study", "waves", "--device", "cpu", "--threads", "1")
    copy = ("--db", "sqlite:///copy.db")
    created = ("study", "create", "waves", "--data", "waves", "--space", "space.toml")
    for command in (
        ("data", "add", "waves.toml"),
        (*created, "--trials", "1", "--folds", "2"),
        work,
        ("db", "backup", "backup.zip"),
        ("db", "restore", "backup.zip", *copy),
        ("study", "resume", "waves", "--trials", "1", *copy),
        (*work, *copy),
    ):
        ended = call(*command)
        assert ended.exit_code == 0, ended.output
    found = json.loads(call("study", "list", "--json", *copy).stdout)
    assert [(each["name"], each["told"]) for each in found] == [("kept", 0), ("waves", 2)]
