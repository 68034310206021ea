from __future__ import annotations

import hashlib
import io
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from optuna.artifacts.exceptions import ArtifactNotFound
from optuna.trial import TrialState
from sqlalchemy import Engine, delete, func, select, update

from muster_db import blobs, schema, trials
from muster_db.artifacts import DatabaseArtifactStore
from muster_db.engine import connect
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


def test_storing_damaged_bytes_again_mends_them(engine: Engine) -> None:
    data = bytes(blobs.CHUNK_BYTES) + b"weights"
    sha = blobs.put(engine, data)
    with engine.begin() as connection:
        connection.execute(update(chunks).where(chunks.c.position == 0).values(data=b"x"))
    sent: list[int] = []
    assert blobs.put(engine, data, between=lambda: sent.append(1)) == sha
    assert blobs.get(engine, sha) == data
    assert len(sent) == 1
    with engine.begin() as connection:
        connection.execute(delete(chunks).where(chunks.c.position == 1))
    with pytest.raises(blobs.DamagedBlob, match="damaged"):
        blobs.get(engine, sha)
    blobs.put(engine, data)
    assert blobs.get(engine, sha) == data


def test_an_upload_that_was_cut_off_goes_on_where_it_was(engine: Engine) -> None:
    data = np.random.default_rng(0).bytes(3 * blobs.CHUNK_BYTES)
    steps = iter([None, None])
    with pytest.raises(StopIteration):
        blobs.put(engine, data, between=lambda: next(steps))
    with pytest.raises(blobs.DamagedBlob, match="not in this database"):
        blobs.get(engine, hashlib.sha256(data).hexdigest())
    sent: list[int] = []
    sha = blobs.put(engine, data, between=lambda: sent.append(1))
    assert len(sent) == 1
    read: list[int] = []
    assert blobs.get(engine, sha, between=lambda: read.append(1)) == data
    assert len(read) == 3


def test_a_second_writer_leaves_a_whole_blob_whole(engine: Engine) -> None:
    data = np.random.default_rng(1).bytes(2 * blobs.CHUNK_BYTES)
    sha = hashlib.sha256(data).hexdigest()
    others: list[bytes] = []

    def overtake() -> None:
        if not others:
            others.append(data)
            blobs.put(engine, data)
        assert blobs.get(engine, sha) == data

    assert blobs.put(engine, data, between=overtake) == sha
    assert blobs.get(engine, sha) == data


def test_an_upload_whose_rows_are_collected_meanwhile_starts_anew(engine: Engine) -> None:
    data = np.random.default_rng(2).bytes(3 * blobs.CHUNK_BYTES)
    sha = hashlib.sha256(data).hexdigest()
    collected: list[int] = []

    def collect() -> None:
        collected.append(len(collected))
        if collected[-1] == 1:
            assert blobs.forget(engine, [sha]) == 1
        if collected[-1] == 3:
            # A second writer has begun anew, so the blob is there again and its rows are not.
            assert blobs.forget(engine, [sha]) == 1
            with pytest.raises(ZeroDivisionError):
                blobs.put(engine, data, between=lambda: 1 // 0)

    assert blobs.put(engine, data, between=collect) == sha
    assert blobs.get(engine, sha) == data


def test_many_writers_of_the_same_bytes_leave_one_whole_blob(database_url: str) -> None:
    engine = connect(database_url)
    schema.initialise(engine)
    data = np.random.default_rng(3).bytes(2 * blobs.CHUNK_BYTES + 1)
    start = threading.Barrier(4)

    def work(_: int) -> str:
        own = connect(database_url)
        start.wait()
        sha = blobs.put(own, data)
        assert blobs.get(own, sha) == data
        own.dispose()
        return sha

    with ThreadPoolExecutor(4) as pool:
        (sha,) = set(pool.map(work, range(4)))
    assert blobs.get(engine, sha) == data
    engine.dispose()


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
