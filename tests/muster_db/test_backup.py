from __future__ import annotations

import io
import json
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState
from sqlalchemy import Engine, event, func, insert, select, update
from sqlalchemy.exc import OperationalError

from muster.errors import LeaseLost, UserError
from muster_db import blobs, datasets, schema, trials
from muster_db.artifacts import DatabaseArtifactStore
from muster_db.backup import back_up, read_lines
from muster_db.backup_file import CARRIED, MANIFEST, open_backup
from muster_db.engine import connect
from muster_db.restore import restore
from muster_db.study import create_study, open_study, progress
from muster_db.tables import chunks, optuna_reports
from muster_db.trials import Claim
from muster_db.workers import list_workers, register
from samples import make_contract, make_dataset, make_study, proposer, take

HARD_VALUES = (0.1 + 0.2, 5e-324, 1.7976931348623157e308, -0.0, 1 / 3, float("inf"))


@pytest.fixture
def other(sqlite_url: str, database_url: str, request: pytest.FixtureRequest) -> Iterator[Engine]:
    """An engine on an empty database without tables, of the kind that `engine` is not."""
    is_lite = database_url.startswith("sqlite")
    connected = connect(request.getfixturevalue("mariadb_url") if is_lite else sqlite_url)
    yield connected
    connected.dispose()


@pytest.fixture
def lite(tmp_path: Path) -> Iterator[Engine]:
    """An engine on an initialised SQLite file."""
    connected = connect(f"sqlite:///{tmp_path / 'lite.db'}")
    schema.initialise(connected)
    yield connected
    connected.dispose()


def tell(engine: Engine, claim: Claim, value: float | None, **changes: Any) -> None:
    facts: dict[str, Any] = {"state": TrialState.COMPLETE, "attributes": {}, "blobs": {}}
    trials.tell(engine, claim, value=value, **(facts | changes))


def fill(engine: Engine) -> list[Claim]:
    """A study of each kind of trial, a dataset, an artifact; the claims still held."""
    fingerprint = datasets.store(engine, make_dataset())
    contract = make_contract(dataset_fingerprint=fingerprint)
    study = create_study(engine, name="Größe ☂", contract=contract, budget=12)
    worker = register(engine, study, host="host", device="cpu")
    propose = proposer(1)

    def claim() -> Claim:
        return take(engine, study, worker_id=worker.worker_id, propose=propose)

    for value in HARD_VALUES:
        claimed = claim()
        trials.report(engine, claimed, [(0, value), (1, float("nan"))])
        oof = blobs.put(engine, np.random.default_rng(1).bytes(blobs.CHUNK_BYTES + 3))
        facts = {"note": "ü\n\u2028", "value": value if value < 1e300 else None}
        tell(engine, claimed, value, attributes=facts, blobs={"oof": oof})
    tell(engine, claim(), None, state=TrialState.PRUNED)
    trials.fail_attempt(engine, failed := claim(), "Traceback: ü")
    assert take(engine, study, worker_id=worker.worker_id).number == failed.number
    held = claim()
    trials.attach(engine, held, {"checkpoint": blobs.put(engine, b"checkpoint")})
    trials.release(engine, claim())
    blobs.put(engine, b"")
    store = DatabaseArtifactStore(engine)
    loaded = load(engine, study.name)
    loaded.set_user_attr("team", ["a", 1.5])
    made = io.BytesIO(b"figure")
    store.write("figure", made)
    return [held]


def load(engine: Engine, name: str = "Größe ☂") -> optuna.Study:
    url = engine.url.render_as_string(hide_password=False)
    return optuna.load_study(study_name=name, storage=url)


def seen(engine: Engine) -> list[tuple[object, ...]]:
    """Every trial as Optuna shows it, floats by repr; what ran waits."""
    running = {TrialState.RUNNING: TrialState.WAITING}
    return [
        (
            t.number,
            running.get(t.state, t.state),
            repr(t.values),
            repr(t.params),
            repr(t.distributions),
            repr(t.intermediate_values),
            repr(t.user_attrs),
            t.datetime_start,
            t.datetime_complete,
        )
        for t in load(engine).trials
    ]


def rows(engine: Engine) -> int:
    with engine.connect() as connection:
        return sum(
            connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in (*CARRIED, chunks)
        )


def test_backup_carries_everything_to_the_other_kind_of_server_and_back(
    engine: Engine, other: Engine, tmp_path: Path
) -> None:
    (held,) = fill(engine)
    manifest = back_up(engine, tmp_path / "first.zip")
    assert str(manifest).startswith("1 studies, 10 trials, 1 datasets, 5 blobs")
    assert restore(other, tmp_path / "first.zip") == manifest
    assert seen(other) == seen(engine)
    assert load(other).user_attrs == {"team": ["a", 1.5]}
    study = open_study(other, "Größe ☂")
    assert study == open_study(engine, "Größe ☂")
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
    study = open_study(other, "Größe ☂")
    before = progress(other, study)
    assert (before.told, before.running, before.waiting) == (7, 0, 3)
    attempts = []
    propose = proposer(9)
    while isinstance(
        claim := trials.claim(other, study, worker_id=1, lease_seconds=60, propose=propose), Claim
    ):
        attempts.append((claim.number, claim.attempt))
        if claim.number == 8:
            sha = trials.blob_names(other, claim.trial_id)["checkpoint"]
            assert blobs.get(other, sha) == b"checkpoint"
        tell(other, claim, 0.5)
    assert attempts == [(7, 3), (8, 2), (9, 2), (10, 1), (11, 1)]
    assert progress(other, study).told == 12
    assert [trial.number for trial in load(other).trials] == list(range(12))


def test_backup_shows_one_moment_while_a_worker_goes_on(engine: Engine, tmp_path: Path) -> None:
    study = make_study(engine, budget=5)
    tell(engine, take(engine, study), 0.5)
    url = engine.url.render_as_string(hide_password=False)
    done = threading.Event()

    def go_on(*_: object) -> None:
        if done.is_set():
            return
        done.set()
        worker = connect(url)
        claim = take(worker, study, worker_id=2)
        trials.report(worker, claim, [(0, 0.1)])
        tell(worker, claim, 0.7, blobs={"oof": blobs.put(worker, b"late")})
        worker.dispose()

    def after_studies(*facts: Any) -> None:
        if "FROM study_directions" in facts[2]:
            go_on()

    event.listen(engine, "after_cursor_execute", after_studies)
    manifest = back_up(engine, tmp_path / "backup.zip")
    assert done.is_set()
    counts = {name: part.rows for name, part in manifest.tables.items()}
    assert (counts["trials"], counts["muster_trials"], counts["trial_values"]) == (1, 1, 1)
    assert (counts["trial_intermediate_values"], manifest.blobs.rows) == (0, 0)
    assert progress(engine, study).told == 2


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


def test_every_flipped_or_missing_byte_that_matters_is_found(lite: Engine, tmp_path: Path) -> None:
    study = make_study(lite)
    tell(lite, take(lite, study), 0.5, blobs={"oof": blobs.put(lite, bytes(range(256)) * 8)})
    whole = tmp_path / "whole.zip"
    back_up(lite, whole)
    data = whole.read_bytes()
    expected = contents(whole)
    damaged = tmp_path / "damaged.zip"
    rng = np.random.default_rng(0)
    found = 0
    for position in rng.integers(0, len(data), size=400):
        flipped = bytearray(data)
        flipped[position] ^= 1 << int(rng.integers(8))
        damaged.write_bytes(flipped)
        try:
            assert contents(damaged) == expected
        except UserError:
            found += 1
    assert found > 200
    for length in (0, 1, len(data) // 2, len(data) - 1):
        damaged.write_bytes(data[:length])
        with pytest.raises(UserError, match=r"damaged\.zip: not a whole backup"):
            contents(damaged)


def contents(path: Path) -> object:
    """All that a restore would take out of a file."""
    with open_backup(path) as backup:
        held = {table.name: list(backup.batches(table)) for table in CARRIED}
        return held, [(sha, size, b"".join(parts)) for sha, size, parts in backup.blobs()]


def rewritten(path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A copy of a backup with another manifest."""
    copy = path.with_name("rewritten.zip")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(copy, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == MANIFEST:
                facts = json.loads(data)
                change(facts)
                data = json.dumps(facts).encode()
            new.writestr(name, data)
    return copy


def test_newer_formats_missing_files_and_other_zips_are_refused_without_a_database(
    lite: Engine, tmp_path: Path
) -> None:
    whole = tmp_path / "whole.zip"
    back_up(lite, whole)
    target = connect(f"sqlite:///{tmp_path / 'target.db'}")

    def newer_format(facts: dict[str, Any]) -> None:
        facts.update(format=2, muster_version="9.9")

    def newer_column(facts: dict[str, Any]) -> None:
        facts["tables"]["muster_studies"]["columns"].append("future")

    def lacking(facts: dict[str, Any]) -> None:
        facts["tables"]["muster_studies"]["columns"].remove("budget")

    with pytest.raises(UserError, match=r"muster 9\.9 wrote.*number 2.*install the newest"):
        restore(target, rewritten(whole, newer_format))
    with pytest.raises(UserError, match="newer than this muster"):
        restore(target, rewritten(whole, newer_column))
    with pytest.raises(UserError, match="muster_studies lacks budget"):
        restore(target, rewritten(whole, lacking))
    with pytest.raises(UserError, match="not a whole backup"):
        restore(target, rewritten(whole, dict.clear))
    with pytest.raises(UserError, match=r"missing\.zip: the backup cannot be read"):
        restore(target, tmp_path / "missing.zip")
    assert not (tmp_path / "target.db").exists()


def test_restore_that_is_cut_off_leaves_nothing_and_may_be_repeated(
    engine: Engine, lite: Engine, tmp_path: Path
) -> None:
    fill(lite)
    back_up(lite, tmp_path / "backup.zip")
    schema.initialise(engine)

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
    target = connect(f"sqlite:///{tmp_path / 'target.db'}")
    schema.initialise(target)
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


def test_value_that_the_server_would_change_is_refused(mariadb_url: str, tmp_path: Path) -> None:
    lite = connect(f"sqlite:///{tmp_path / 'lite.db'}")
    schema.initialise(lite)
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
    lite.dispose()


def test_damaged_blob_is_left_out_with_a_warning(
    lite: Engine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = blobs.put(lite, b"first"), blobs.put(lite, b"second")
    with lite.begin() as connection:
        connection.execute(update(chunks).where(chunks.c.sha == first).values(data=b"fxrst"))
    assert back_up(lite, tmp_path / "backup.zip").blobs.rows == 1
    assert f"blob {first} is damaged" in caplog.text
    target = connect(f"sqlite:///{tmp_path / 'target.db'}")
    restore(target, tmp_path / "backup.zip")
    assert blobs.get(target, second) == b"second"
    with pytest.raises(blobs.DamagedBlob):
        blobs.get(target, first)
    target.dispose()


def test_backup_appears_whole_or_not_at_all(lite: Engine, tmp_path: Path) -> None:
    taken = tmp_path / "taken.zip"
    taken.write_text("mine")
    with pytest.raises(UserError, match=r"taken\.zip: there is such a file already"):
        back_up(lite, taken)
    assert taken.read_text() == "mine"
    with pytest.raises(UserError, match="cannot be written"):
        back_up(lite, tmp_path / "no_folder" / "backup.zip")
    full = tmp_path / "full.zip"

    def fail(*facts: Any) -> None:
        if "FROM muster_datasets" in facts[2]:
            raise OSError(28, "No space left on device")

    event.listen(lite, "before_cursor_execute", fail)
    with pytest.raises(UserError, match=r"full\.zip: .*No space left on device.*make room"):
        back_up(lite, full)
    assert not [path for path in tmp_path.iterdir() if "full.zip" in path.name]


def test_many_rows_go_through_in_batches(lite: Engine, tmp_path: Path) -> None:
    claim = take(lite, make_study(lite))
    many = [
        {
            "trial_id": claim.trial_id,
            "step": step,
            "intermediate_value": step / 7,
            "intermediate_value_type": "FINITE",
        }
        for step in range(1234)
    ]
    with lite.begin() as connection:
        connection.execute(insert(optuna_reports), many)
    back_up(lite, tmp_path / "backup.zip")
    with open_backup(tmp_path / "backup.zip") as backup:
        assert [len(batch) for batch in backup.batches(optuna_reports)] == [500, 500, 234]
