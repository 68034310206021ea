from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event, insert, update

from muster.errors import UserError
from muster_db import blobs, trials
from muster_db.backup import back_up
from muster_db.backup_file import open_backup
from muster_db.engine import connect
from muster_db.progress import progress
from muster_db.restore import restore
from muster_db.tables import chunks, optuna_reports
from samples import make_study, take
from searches import tell


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
