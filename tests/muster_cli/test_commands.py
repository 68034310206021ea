from __future__ import annotations

import json
import signal
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from commands import SPACE, Finished, done, files_in, finish, muster, started, write_example
from muster.errors import UserError
from muster.space import load_space
from muster_cli.commands import app
from muster_db.engine import connect
from muster_db.mirror import Mirror
from muster_db.study import open_study
from samples import take
from searches import tell


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the example, its own database and cache, where commands run in-process."""
    write_example(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MUSTER_DATA", raising=False)
    monkeypatch.setenv("MUSTER_DB_URL", "sqlite:///muster.db")
    monkeypatch.setenv("MUSTER_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path


def call(*arguments: str | Path, answer: str | None = None) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)), input=answer)


def ok(*arguments: str | Path) -> str:
    result = call(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def ok_json(*arguments: str | Path) -> Any:
    return json.loads(ok(*arguments, "--json"))


@pytest.mark.parametrize(
    "command",
    [
        "status", "worker", "study list", "study show s", "study stop s", "study resume s",
        "study delete s", "data list", "data show d", "ensemble s", "export s --out b",
        "dashboard", "proxy", "db backup b.zip", "db gc",
    ],
)  # fmt: skip
def test_looking_for_a_database_that_is_not_there_makes_none(folder: Path, command: str) -> None:
    before = files_in(folder)
    refused = call(*command.split(), "--db", "sqlite:///typo.db")
    assert isinstance(refused.exception, UserError)
    said = str(refused.exception)
    assert "typo.db: there is no such database" in said
    assert "--db" in said
    assert "muster db init --db sqlite:///typo.db" in said
    assert files_in(folder) == before


@pytest.mark.usefixtures("folder")
def test_worker_that_finds_no_study_says_how_to_create_one() -> None:
    ok("db", "init")
    refused = call("worker", "--device", "cpu")
    assert isinstance(refused.exception, UserError)
    assert "there is no study to serve" in str(refused.exception)
    assert "muster study create" in str(refused.exception)


@pytest.mark.usefixtures("folder")
def test_backup_of_a_database_without_a_study_warns() -> None:
    ok("db", "init")
    made = call("db", "backup", "b.zip")
    assert made.exit_code == 0
    assert "there is no study in this database" in made.stderr


def test_every_command_closes_the_database_that_it_opened(folder: Path) -> None:
    ok("db", "init")
    # SQLite clears its log away when the last connection closes.
    for command in ("status", "study list"):
        ok(*command.split())
        assert files_in(folder) & {"muster.db-wal", "muster.db-shm"} == set()


@pytest.mark.usefixtures("folder")
def test_study_fits_into_80_columns() -> None:
    ok("data", "add", "waves.toml")
    ok("study", "create", "first", "--data", "waves", "--space", "space.toml", "--patience", "4")
    shown = ok("study", "show", "first")
    assert max(map(len, shown.splitlines())) <= 80
    for line in ("patience of 4 trials", "architecture = gru | cnn", "dropout: 0.0 to 0.3"):
        assert line in shown


@pytest.mark.usefixtures("folder")
def test_data_is_added_listed_and_shown() -> None:
    name, fingerprint = ok("data", "add", "waves.toml").split()
    assert name == "waves"
    assert ok("data", "add", "waves.toml").split() == [name, fingerprint]
    assert ok_json("data", "list") == [
        {"name": "waves", "fingerprint": fingerprint, "sequences": 32}
    ]
    assert fingerprint in ok("data", "list")
    facts = ok_json("data", "show", "waves")
    assert facts["fingerprint"] == fingerprint
    assert facts["train_sequences"] == 24
    assert facts["test_sequences"] == 8
    assert facts["channels"] == ["x", "y"]
    assert facts["classes"] == {"high": 12, "low": 12}
    assert facts["steps"] == "5 to 7"
    assert "2: x, y" in ok("data", "show", fingerprint)


@pytest.mark.usefixtures("folder")
def test_study_is_created_listed_shown_stopped_resumed_and_deleted() -> None:
    ok("data", "add", "waves.toml")
    create = ("study", "create", "first", "--data", "waves", "--space", "space.toml")
    ok(*create, "--trials", "4", "--seed", "3", "--folds", "2")
    assert "left as it is" in ok(*create, "--if-absent")
    row = {"name": "first", "state": "open", "told": 0, "budget": 4}
    assert ok_json("study", "list") == [row]
    assert "first" in ok("study", "list")
    facts = ok_json("study", "show", "first")
    assert (facts["seed"], facts["folds"], facts["metric"]) == (3, 2, "macro_f1")
    assert facts["space"]["space"]["epochs"] == 3
    assert facts["contract_hash"] in ok("study", "show", "first")
    ok("study", "stop", "first")
    assert ok_json("study", "list") == [row | {"state": "stopped"}]
    ok("study", "resume", "first", "--trials", "2")
    assert ok_json("study", "list") == [row | {"budget": 6}]
    assert call("study", "delete", "first", answer="n\n").exit_code == 1
    assert ok_json("study", "list") != []
    ok("study", "delete", "first", "--yes")
    assert ok_json("study", "list") == []


@pytest.mark.usefixtures("folder")
def test_a_grid_must_be_finite_and_says_when_it_ends_before_the_budget() -> None:
    ok("data", "add", "waves.toml")
    create = ("study", "create", "first", "--data", "waves", "--space", "space.toml")
    grid = (*create, "--sampler", "grid", "--trials", "9", "--folds", "2")
    refused = call(*grid).exception
    assert isinstance(refused, UserError)
    assert "learning_rate, dropout have neither step nor choices" in str(refused)
    finite = SPACE.replace("high = 1e-2, log = true", "high = 9e-3, step = 8e-3")
    Path("space.toml").write_text(finite.replace("high = 0.3", "high = 0.0"))
    assert "6 combinations: 3 trials will repeat" in call(*grid).stderr


@pytest.mark.usefixtures("folder")
def test_what_is_tried_first_comes_from_the_space_and_from_an_earlier_study() -> None:
    ok("data", "add", "waves.toml")
    create = ("study", "create", "--data", "waves", "--space", "space.toml", "--folds", "2")
    ok(*create, "old")
    engine = connect("sqlite:///muster.db")
    mirror = Mirror(engine, old := open_study(engine, "old"))
    space = load_space(Path("space.toml"))
    claimed = take(engine, old, propose=lambda: mirror.propose(space.suggest, worker_ordinal=0))
    tell(engine, claimed, 0.5)
    engine.dispose()
    Path("first.toml").write_text(SPACE + "[[try_first]]\ndropout = 0.125\n")
    created = (*create[:-4], "--space", "first.toml", "--folds", "2")
    result = call(*created, "new", "--warm-start", "old:3")
    assert "warm start from old:3: 1 tried first" in result.stderr
    assert ok_json("study", "show", "new")["tried_first"] == [{"dropout": 0.125}, claimed.params]
    assert isinstance(call(*created, "newer", "--warm-start", "odd").exception, UserError)


@pytest.mark.usefixtures("folder")
def test_status_of_an_untouched_study_has_every_figure() -> None:
    ok("data", "add", "waves.toml")
    ok("study", "create", "first", "--data", "waves", "--space", "space.toml", "--trials", "4")
    assert ok_json("status") == [
        {
            "name": "first", "state": "open", "budget": 4, "told": 0, "running": 0, "waiting": 0,
            "complete": 0, "pruned": 0, "failed": 0, "workers": 0, "best_value": None,
            "best_number": None, "ensemble": None, "metric": "macro_f1", "seconds_left": None,
            "architectures": {}, "machines": [],
        }
    ]  # fmt: skip
    assert "0/4" in ok("status", "first")


def test_status_of_a_finished_study_names_its_best_trial(finished: Finished) -> None:
    shown = done("status", "--json", *finished.db, folder=finished.folder)
    (status,) = json.loads(shown)
    assert status["told"] == status["budget"] == 5
    assert status["complete"] + status["pruned"] + status["failed"] == 5
    assert (status["running"], status["workers"]) == (0, 0)
    assert 0.0 <= status["best_value"] <= 1.0


def test_exported_bundle_predicts_as_the_runs_own(finished: Finished, tmp_path: Path) -> None:
    said = done("export", "space", "--out", tmp_path / "b", *finished.db, folder=tmp_path)
    assert "of study space" in said
    predictions = tmp_path / "p.csv"
    test = finished.folder / "test.csv"
    done("predict", tmp_path / "b", test, "--out", predictions, "--proba", folder=tmp_path)
    rows = [line.split(",") for line in predictions.read_text().splitlines()]
    assert rows[0] == ["wave", "label", "probability_high", "probability_low"]
    wanted = (finished.folder / "out" / "predictions.csv").read_text().splitlines()
    assert [",".join(row[:2]) for row in rows] == wanted


def test_ensemble_votes_again_and_prints_its_summary(finished: Finished, tmp_path: Path) -> None:
    out = tmp_path / "again"
    command = ("ensemble", "space", "--wait", "--out", out, "--json", *finished.db)
    said = done(*command, folder=tmp_path)
    written = json.loads((out / "summary.json").read_text())
    assert written == json.loads(said[said.index("{") :])
    before = json.loads((finished.folder / "out" / "summary.json").read_text())
    assert written["ensemble"] == before["ensemble"]
    assert (out / "predictions.csv").read_bytes() == (
        finished.folder / "out" / "predictions.csv"
    ).read_bytes()


def test_a_dry_run_tries_a_rule_within_limits_and_writes_nothing(
    finished: Finished, tmp_path: Path
) -> None:
    limits = (
        "--members",
        "2",
        "--per-architecture",
        "1",
        "--min-disagreement",
        "0",
        "--max-q",
        "1",
    )
    command = ("ensemble", "space", "--dry-run", "--rule", "auto", *limits, "--json", *finished.db)
    said = done(*command, folder=tmp_path)
    told = json.loads(said[said.index("{") :])
    assert set(told["estimates"]) == {
        "single", "majority", "soft", "weighted", "greedy", "auto",
    }  # fmt: skip
    assert told["rule"] in told["estimates"]
    assert 1 <= len(told["members"]) <= 2
    assert "95 % interval" in said
    assert not (tmp_path / "runs").exists()
    refused = muster("ensemble", "space", "--max-q", "7", *finished.db, folder=tmp_path)
    assert refused.returncode == 2
    assert "limits of the ensemble: a Q statistic of 7.0" in refused.stderr


def test_unknown_study_is_the_users_input(finished: Finished) -> None:
    refused = muster("study", "show", "nope", *finished.db, folder=finished.folder)
    assert refused.returncode == 2
    assert refused.stderr == "muster: there is no study 'nope'; the studies here: space\n"
    assert refused.stdout == ""


def test_tables_of_another_shape_are_a_fault_of_ours_told_in_one_message(folder: Path) -> None:
    ok("db", "init")
    with sqlite3.connect("muster.db") as connection:
        connection.execute("ALTER TABLE muster_studies RENAME COLUMN budget TO budgets")
    connection.close()
    failed = muster("status", "--db", "sqlite:///muster.db", folder=folder)
    assert failed.returncode == 1
    assert "no such column" in failed.stderr
    assert "Traceback" not in failed.stderr
    told = muster("--debug", "status", "--db", "sqlite:///muster.db", folder=folder)
    assert "Traceback" in told.stderr


def test_bad_settings_are_all_named(folder: Path) -> None:
    refused = muster("status", folder=folder, MUSTER_LEASE_SECONDS="soon", MUSTER_SPEED="9")
    assert refused.returncode == 2
    for text in ("MUSTER_LEASE_SECONDS", "MUSTER_SPEED: unknown", "mend or unset"):
        assert text in refused.stderr


def test_interrupted_watch_ends_with_130(folder: Path) -> None:
    ok("data", "add", "waves.toml")
    ok("study", "create", "first", "--data", "waves", "--space", "space.toml")
    watch = ("status", "--watch", "--db", "sqlite:///muster.db")
    with started(*watch, folder=folder) as process:
        assert process.stdout is not None
        assert "study" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        ended = finish(process)
    assert ended.returncode == 130
    assert "Traceback" not in ended.stderr
