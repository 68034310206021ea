"""What a study refuses, by real commands: one message, exit code 2, no row changed."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from commands import RUN, Finished, done, messages, muster

CREATE = ("study", "create", "new", "--data", "waves", "--space", "space.toml")
WORKER = ("worker", "--study", "space", "--device", "cpu")


def nothing(folder: Path) -> None:
    """The command alone is bad."""


def execute(statement: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        connection = sqlite3.connect(folder / "out" / "muster.db")
        with connection:
            assert connection.execute(statement).rowcount > 0
        connection.close()

    return spoil


def edit(name: str, old: str, new: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1))

    return spoil


def swap_datasets(folder: Path) -> None:
    """Let the study's fingerprint stand for another content."""
    CHANGE_DATA(folder)
    done("data", "add", "waves.toml", "--db", f"sqlite:///{folder / 'out' / 'muster.db'}",
         folder=folder)  # fmt: skip
    newest = "(SELECT sha FROM muster_datasets ORDER BY stored_at DESC LIMIT 1)"
    execute(f"UPDATE muster_datasets SET sha = {newest}")(folder)


CHANGE_DATA = edit("labels.csv", "000,low", "000,high")


@dataclass(frozen=True)
class Case:
    """spoil: what is done to a folder in which RUN has ended. said: what the message must hold."""

    command: tuple[str, ...]
    said: tuple[str, ...]
    spoil: Callable[[Path], None] = nothing


NO_DATASET = execute("DELETE FROM muster_datasets")
OTHER_VERSION = execute(
    "UPDATE muster_studies SET contract = json_set(contract, '$.code_version', '9.9.9')"
)
CASES = {
    "budget of zero": Case((*CREATE, "--trials", "0"), ("budget of 0 trials", "ask for 1")),
    "negative budget": Case((*CREATE, "--trials", "-3"), ("budget of -3 trials", "ask for 1")),
    "negative extension": Case(
        ("study", "resume", "space", "--trials", "-3"), ("extending by -3 trials", "ask for 1")
    ),
    "worker for an unknown study": Case(
        ("worker", "--study", "nobody"), ("there is no study 'nobody'", "the studies here: space")
    ),
    "stop of an unknown study": Case(("study", "stop", "nobody"), ("no study 'nobody'",)),
    "resume of an unknown study": Case(("study", "resume", "nobody"), ("no study 'nobody'",)),
    "status of an unknown study": Case(("status", "nobody"), ("no study 'nobody'",)),
    "vote of an unknown study": Case(("ensemble", "nobody"), ("no study 'nobody'",)),
    "resume without the dataset": Case(
        ("study", "resume", "space", "--trials", "2"),
        ("'space'", "its dataset 'waves'", "gone", "muster data add"),
        NO_DATASET,
    ),
    "worker without the dataset": Case(
        WORKER, ("'space'", "its dataset 'waves'", "gone", "muster data add"), NO_DATASET
    ),
    "worker of another version": Case(
        WORKER, ("'space'", "muster 9.9.9", "install muster 9.9.9"), OTHER_VERSION
    ),
    "worker with another dataset": Case(
        WORKER,
        ("dataset", "other content than its fingerprint says", "muster data add"),
        swap_datasets,
    ),
    "run with another dataset": Case(
        RUN,
        ("study 'space'", "the content of waves has changed", "--name OTHER"),
        CHANGE_DATA,
    ),
    "run with another search space": Case(
        RUN,
        ("study 'space'", "search space: space.epochs differ", "--name OTHER"),
        edit("space.toml", "epochs = 3", "epochs = 4"),
    ),
    "restore over a database that is not empty": Case(
        ("db", "restore", "backup.zip"), ("muster.db: not an empty database", "restore into an")
    ),
}


@dataclass(frozen=True)
class Ended:
    """How a case ended, and what the database held before and after."""

    process: CompletedProcess[str]
    before: list[str]
    after: list[str]


def run(case: Case, template: Path, folder: Path) -> Ended:
    shutil.copytree(template, folder, dirs_exist_ok=True)
    shutil.rmtree(folder / "cache", ignore_errors=True)
    case.spoil(folder)
    database = folder / "out" / "muster.db"
    before = dump(database)
    process = muster(*case.command, folder=folder, MUSTER_DB_URL=f"sqlite:///{database}")
    return Ended(process, before, dump(database))


def dump(path: Path) -> list[str]:
    """All that an SQLite database holds."""
    connection = sqlite3.connect(path)
    try:
        return list(connection.iterdump())
    finally:
        connection.close()


@pytest.fixture(scope="module")
def endings(
    finished: Finished, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[Ended]]]:
    """Every case in a process of its own, two at a time."""
    template = tmp_path_factory.mktemp("template")
    shutil.copytree(finished.folder, template, dirs_exist_ok=True)
    done("db", "backup", template / "backup.zip", *finished.db, folder=template)
    with ThreadPoolExecutor(2) as pool:
        yield {
            name: pool.submit(run, case, template, tmp_path_factory.mktemp("case"))
            for name, case in CASES.items()
        }


@pytest.mark.parametrize("name", CASES)
def test_what_a_study_refuses_gets_one_message_and_changes_nothing(
    endings: dict[str, Future[Ended]], name: str
) -> None:
    ended = endings[name].result()
    said = ended.process.stderr
    assert ended.process.returncode == 2, said
    assert len(messages(ended.process)) == 1
    for text in CASES[name].said:
        assert text in said
    assert "Traceback" not in said
    assert ended.process.stdout == ""
    assert ended.after == ended.before
