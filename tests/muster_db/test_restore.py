from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event
from sqlalchemy.exc import OperationalError

from databases import sqlite_with_tables
from muster.errors import LeaseLost, UserError
from muster_db import blobs, claims, datasets, trials
from muster_db.artifacts import DatabaseArtifactStore
from muster_db.backup import back_up, read_lines
from muster_db.backup_file import CARRIED
from muster_db.claims import Claim
from muster_db.engine import connect
from muster_db.progress import progress
from muster_db.restore import restore
from muster_db.study import open_study
from muster_db.workers import list_workers
from samples import make_dataset, make_study, proposer, take
from searches import NAME, fill, load, rows, seen, tell


@pytest.fixture
def other(kind: str, request: pytest.FixtureRequest) -> Iterator[Engine]:
    """An engine on an empty database without tables, of the kind that `engine` is not."""
    other_url = {"sqlite": "mariadb_url", "mariadb": "sqlite_url"}[kind]
    connected = connect(request.getfixturevalue(other_url))
    yield connected
    connected.dispose()


def test_backup_carries_everything_to_the_other_kind_of_server_and_back(
    engine: Engine, other: Engine, tmp_path: Path
) -> None:
    held = fill(engine)
    manifest = back_up(engine, tmp_path / "first.zip")
    assert str(manifest).startswith("1 studies, 10 trials, 1 datasets, 5 blobs")
    assert restore(other, tmp_path / "first.zip") == manifest
    assert seen(other) == seen(engine)
    assert load(other).user_attrs == {"team": ["a", 1.5]}
    study = open_study(other, NAME)
    assert study == open_study(engine, NAME)
    for trial_id in range(1, 11):
        names = trials.blob_names(engine, trial_id)
        assert trials.blob_names(other, trial_id) == names
        assert all(blobs.get(other, sha) == blobs.get(engine, sha) for sha in names.values())
    cache = tmp_path / "cache"
    fetched = datasets.fetch(other, study.contract.dataset_fingerprint, cache=cache)
    assert fetched.identifiers == make_dataset().identifiers
    assert DatabaseArtifactStore(other).open_reader("figure").read() == b"figure"
    with pytest.raises(LeaseLost):
        trials.extend(other, held)
    assert [each.left_at is None for each in list_workers(other, study)] == [False]

    back_up(other, tmp_path / "second.zip")
    third = connect(f"sqlite:///{tmp_path / 'third.db'}")
    restore(third, tmp_path / "second.zip")
    with other.connect() as theirs, third.connect() as ours:
        for table in CARRIED:
            assert list(read_lines(ours, table)) == list(read_lines(theirs, table)), table.name
    third.dispose()


def test_restored_study_goes_on_to_its_exact_budget(
    engine: Engine, other: Engine, tmp_path: Path
) -> None:
    fill(engine)
    back_up(engine, tmp_path / "backup.zip")
    restore(other, tmp_path / "backup.zip")
    study = open_study(other, NAME)
    before = progress(other, study)
    assert (before.told, before.running, before.waiting) == (7, 0, 3)
    attempts = []
    propose = proposer(9)
    while isinstance(
        claim := claims.claim(other, study, worker_id=9, lease_seconds=60, propose=propose), Claim
    ):
        attempts.append((claim.number, claim.attempt))
        if claim.number == 8:
            sha = trials.blob_names(other, claim.trial_id)["checkpoint"]
            assert blobs.get(other, sha) == b"checkpoint"
        tell(other, claim, 0.5)
    assert attempts == [(7, 3), (8, 2), (9, 2), (10, 1), (11, 1)]
    assert progress(other, study).told == 12
    assert [trial.number for trial in load(other).trials] == list(range(12))


def test_database_that_is_not_empty_is_refused_and_stays_as_it_is(
    engine: Engine, lite: Engine, tmp_path: Path
) -> None:
    fill(lite)
    back_up(lite, tmp_path / "backup.zip")
    make_study(engine, name="mine")
    before = rows(engine)
    with pytest.raises(UserError, match=r"not an empty database.*restore into an empty one"):
        restore(engine, tmp_path / "backup.zip")
    assert rows(engine) == before


def test_restore_that_is_cut_off_leaves_nothing_and_may_be_repeated(
    engine: Engine, lite: Engine, tmp_path: Path
) -> None:
    fill(lite)
    back_up(lite, tmp_path / "backup.zip")

    def cut(*facts: Any) -> None:
        if "muster_blob_chunks" in facts[2] and facts[2].startswith("INSERT"):
            raise OperationalError("INSERT", {}, Exception("the disk is gone"))

    event.listen(engine, "before_cursor_execute", cut)
    with pytest.raises(Exception, match="the disk is gone"):
        restore(engine, tmp_path / "backup.zip")
    event.remove(engine, "before_cursor_execute", cut)
    assert rows(engine) == 0
    restore(engine, tmp_path / "backup.zip")
    assert seen(engine) == seen(lite)


def test_restore_whose_commit_went_unanswered_knows_its_own_rows(
    lite: Engine, tmp_path: Path
) -> None:
    fill(lite)
    back_up(lite, tmp_path / "backup.zip")
    target = sqlite_with_tables(tmp_path / "target.db")
    inserted: list[str] = []

    def note(*facts: Any) -> None:
        inserted.extend([facts[2]] if facts[2].startswith("INSERT INTO muster_datasets") else [])

    def lose(connection: Any) -> None:
        if len(inserted) == 1:
            inserted.append("answer lost")
            connection.connection.dbapi_connection.execute("COMMIT")
            raise OperationalError("COMMIT", {}, Exception("database is locked"))

    event.listen(target, "after_cursor_execute", note)
    event.listen(target, "commit", lose)
    restore(target, tmp_path / "backup.zip")
    assert len(inserted) == 2
    assert seen(target) == seen(lite)
    target.dispose()


def test_value_that_the_server_would_change_is_refused(
    lite: Engine, mariadb_url: str, tmp_path: Path
) -> None:
    study = make_study(lite)
    tell(lite, take(lite, study), 0.5)
    load(lite, "study").set_user_attr("long", "x" * 70_000)
    back_up(lite, tmp_path / "backup.zip")
    target = connect(mariadb_url)
    with pytest.raises(UserError, match="cannot hold a row of the backup"):
        restore(target, tmp_path / "backup.zip")
    lenient = connect(f"{mariadb_url}?init_command=SET sql_mode=''")
    with pytest.raises(UserError, match="came back from the server other than they went in"):
        restore(lenient, tmp_path / "backup.zip")
    lenient.dispose()
    assert rows(target) == 0
    target.dispose()
