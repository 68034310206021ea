from __future__ import annotations

import io
import uuid

import numpy as np
import pytest
from optuna.artifacts.exceptions import ArtifactNotFound
from optuna.trial import TrialState
from sqlalchemy import Engine, func, select, update

from muster_db import blobs, trials
from muster_db.artifacts import DatabaseArtifactStore
from muster_db.tables import chunks
from samples import make_study, take


@pytest.mark.parametrize("size", [0, 1, blobs.CHUNK_BYTES, blobs.CHUNK_BYTES + 1, 1_300_000])
def test_blobs_come_back_to_the_byte_in_rows_of_512_kib(engine: Engine, size: int) -> None:
    data = np.random.default_rng(size).bytes(size)
    sha = blobs.put(engine, data)
    assert blobs.put(engine, data) == sha
    assert blobs.get(engine, sha) == data
    with engine.connect() as connection:
        sizes = connection.execute(select(func.length(chunks.c.data))).scalars().all()
    assert sum(sizes) == size
    assert max(sizes) <= blobs.CHUNK_BYTES
    assert len(sizes) == max(1, -(-size // blobs.CHUNK_BYTES))


def test_a_flipped_bit_is_found(engine: Engine) -> None:
    sha = blobs.put(engine, b"weights")
    with engine.begin() as connection:
        connection.execute(update(chunks).values(data=b"xeights"))
    with pytest.raises(blobs.DamagedBlob, match=sha):
        blobs.get(engine, sha)


def test_only_the_best_trials_keep_their_weights(engine: Engine) -> None:
    study = make_study(engine)
    shas = []
    for value in (0.1, 0.9, 0.5):
        claim = take(engine, study)
        fold, oof = (blobs.put(engine, f"{kind}{value}".encode()) for kind in ("fold", "oof"))
        shas.append((fold, oof))
        trials.tell(
            engine,
            claim,
            state=TrialState.COMPLETE,
            value=value,
            attributes={},
            blobs={"fold0": fold, "oof": oof},
        )
    running = take(engine, study)
    trials.attach(engine, running, {"fold0": shas[0][1]})
    assert blobs.keep_best_weights(engine, study, keep=1) == 2
    for fold, oof in (shas[0], shas[2]):
        assert blobs.get(engine, oof)
        with pytest.raises(blobs.DamagedBlob):
            blobs.get(engine, fold)
    assert blobs.get(engine, shas[1][0]) == b"fold0.9"


def test_artifact_store_keeps_optunas_contract(engine: Engine) -> None:
    store = DatabaseArtifactStore(engine)
    name = str(uuid.uuid4())
    with pytest.raises(ArtifactNotFound):
        store.open_reader(name)
    with pytest.raises(ArtifactNotFound):
        store.remove(name)
    store.write(name, io.BytesIO(b"first"))
    store.write(name, io.BytesIO(b"second"))
    with store.open_reader(name) as reader:
        assert reader.read() == b"second"
    store.write("twin", io.BytesIO(b"second"))
    store.remove(name)
    with pytest.raises(ArtifactNotFound):
        store.open_reader(name)
    assert store.open_reader("twin").read() == b"second"
