from __future__ import annotations

import io
from pathlib import Path

import optuna
import pytest
from optuna.artifacts import upload_artifact
from optuna.artifacts.exceptions import ArtifactNotFound
from sqlalchemy import Engine, update

from muster.errors import UserError
from muster_db import blobs, datasets, trials
from muster_db.artifacts import DatabaseArtifactStore
from muster_db.clock import clock
from muster_db.garbage import Collected, collect
from muster_db.study import Study, create_study, delete_study
from muster_db.tables import blobs as blob_table
from muster_db.tables import datasets as dataset_table
from samples import make_contract, make_dataset, take


def age(engine: Engine) -> None:
    """Let everything stored so far be two hours old."""
    with engine.begin() as connection:
        connection.execute(update(blob_table).values(used_at=clock(-7200.0)))
        connection.execute(update(dataset_table).values(stored_at=clock(-7200.0)))


def fill(engine: Engine, name: str, *, sequences: int, file: Path) -> tuple[Study, str]:
    """A study with a dataset, a trial's blob and an artifact of its own; the artifact's id."""
    fingerprint = datasets.store(engine, make_dataset(name, sequences))
    contract = make_contract(dataset_fingerprint=fingerprint)
    study = create_study(engine, name=name, contract=contract, budget=2)
    trials.attach(engine, take(engine, study), {"oof": blobs.put(engine, name.encode())})
    file.write_text(f"figure of {name}")
    url = engine.url.render_as_string(hide_password=False)
    loaded = optuna.load_study(study_name=name, storage=url)
    artifact_id = upload_artifact(
        artifact_store=DatabaseArtifactStore(engine), file_path=str(file), study_or_trial=loaded
    )
    return study, artifact_id


def test_what_a_deleted_study_leaves_goes_and_what_another_names_stays(
    engine: Engine, tmp_path: Path
) -> None:
    _, kept = fill(engine, "kept", sequences=6, file=tmp_path / "figure")
    study, gone = fill(engine, "gone", sequences=8, file=tmp_path / "figure")
    age(engine)
    assert collect(engine, unused_datasets=True) == Collected(0, 0, 0, 0)
    delete_study(engine, study)
    assert collect(engine) == Collected(2, len("gone") + len("figure of gone"), 1, 0)
    store = DatabaseArtifactStore(engine)
    with pytest.raises(ArtifactNotFound):
        store.open_reader(gone)
    assert store.open_reader(kept).read() == b"figure of kept"
    assert datasets.find(engine, "gone")
    collected = collect(engine, unused_datasets=True)
    assert (collected.blobs, collected.datasets) == (1, 1)
    assert datasets.fetch(engine, datasets.find(engine, "kept").fingerprint, cache=tmp_path)
    with pytest.raises(UserError, match="no dataset 'gone'"):
        datasets.find(engine, "gone")


def test_what_was_stored_lately_stays_for_a_trial_may_name_it_soon(engine: Engine) -> None:
    old, fresh = blobs.put(engine, b"old"), blobs.put(engine, b"fresh")
    fingerprint = datasets.store(engine, make_dataset())
    age(engine)
    blobs.put(engine, b"fresh")
    datasets.store(engine, make_dataset("other", 8))
    DatabaseArtifactStore(engine).write("figure", io.BytesIO(b"figure"))
    assert collect(engine, unused_datasets=True).artifacts == 0
    assert blobs.get(engine, fresh) == b"fresh"
    assert [each.name for each in datasets.list_datasets(engine)] == ["other"]
    for sha in (old, fingerprint):
        with pytest.raises(blobs.DamagedBlob):
            blobs.get(engine, sha)


def test_half_a_blob_that_was_never_finished_is_removed(engine: Engine) -> None:
    sha = blobs.put(engine, b"whole")
    with engine.begin() as connection:
        connection.execute(update(blob_table).values(is_whole=False))
    age(engine)
    assert collect(engine).blobs == 1
    assert blobs.put(engine, b"whole") == sha
    assert blobs.get(engine, sha) == b"whole"
