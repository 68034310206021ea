from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from optuna.trial import TrialState
from sqlalchemy import Engine, delete

from databases import sqlite_with_tables
from muster.errors import UserError
from muster_db import blobs, datasets, trials
from muster_db.study import Study
from muster_db.tables import chunks
from muster_ensemble.ledger import Truth, load_ledger, load_truth, truth_of
from samples import make_dataset, make_study, proposer, take

FOLDS = (0, 1, 0, 1, -1, 0)
GOOD = np.array([[0.9, 0.1], [0.2, 0.8]] * 3)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    connected = sqlite_with_tables(tmp_path / "muster.db")
    yield connected
    connected.dispose()


@pytest.fixture
def study(engine: Engine) -> Study:
    fingerprint = datasets.store(engine, make_dataset())
    return make_study(engine, budget=9, folds=FOLDS, dataset_fingerprint=fingerprint)


@pytest.fixture
def truth(study: Study) -> Truth:
    return truth_of(study, make_dataset())


def out_of_fold(**changes: Any) -> NDArray[Any]:
    array = np.where(np.array(FOLDS)[:, None] >= 0, GOOD, np.nan)
    for row, value in changes.items():
        array[int(row[1:])] = value
    return array


def npy(array: NDArray[Any], dtype: type = np.float16) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array.astype(dtype), allow_pickle=False)
    return stream.getvalue()


propose = proposer(5)


def tell(engine: Engine, study: Study, data: bytes | None, *, folds: int = 2) -> int:
    held = take(engine, study, propose=propose)
    parts = {f"fold{fold}": b"weights%d" % held.number for fold in range(folds)}
    if data is not None:
        parts["oof"] = data
    names = {name: blobs.put(engine, content) for name, content in parts.items()}
    trials.tell(engine, held, state=TrialState.COMPLETE, value=0.5, attributes={}, blobs=names)
    return held.number


def test_the_ledger_holds_the_rows_of_the_folds_and_reads_single_precision(
    engine: Engine, study: Study, truth: Truth
) -> None:
    tell(engine, study, npy(out_of_fold()))
    tell(engine, study, npy(out_of_fold(), np.float32), folds=1)
    trials.tell(
        engine,
        take(engine, study, propose=propose),
        state=TrialState.PRUNED,
        value=None,
        attributes={},
        blobs={},
    )
    take(engine, study, propose=propose)
    found = load_ledger(engine, study, truth)
    assert found.numbers == (0, 1)
    assert found.architectures == ("gru", "gru")
    assert found.probabilities.shape == (2, 5, 2)
    assert found.exportable.tolist() == [True, False]
    assert found.truth.rows.tolist() == [0, 1, 2, 3, 5]
    assert found.truth.labels.tolist() == [0, 1, 0, 1, 1]
    assert found.truth.folds.tolist() == [0, 1, 0, 1, 0]
    np.testing.assert_allclose(found.probabilities[0], GOOD[truth.rows], atol=1e-3)


def test_half_precision_alone_stays_half(engine: Engine, study: Study, truth: Truth) -> None:
    tell(engine, study, npy(out_of_fold()))
    assert load_ledger(engine, study, truth).probabilities.dtype == np.float16


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (None, "it has no out-of-fold predictions"),
        (b"no array", "its out-of-fold predictions are damaged"),
        (npy(out_of_fold()[:4]), "of shape (4, 2), the study's contract asks for (6, 2)"),
        (npy(np.ones((6, 2)), np.int64), "are int64 of shape"),
        (npy(out_of_fold(r0=np.nan, r3=np.inf)), "lack 2 of 5 sequences (NaN)"),
        (npy(out_of_fold(r4=0.5)), "evaluated on other folds than the study's contract has"),
        (npy(out_of_fold(r1=0.9)), "are no probabilities"),
    ],
    ids=["missing", "damaged", "shape", "integers", "nan", "folds", "sums"],
)
def test_a_trial_that_cannot_vote_is_left_out_and_told(
    engine: Engine,
    study: Study,
    caplog: pytest.LogCaptureFixture,
    data: bytes | None,
    reason: str,
) -> None:
    truth = truth_of(study, make_dataset())
    caplog.set_level(logging.WARNING)
    tell(engine, study, data)
    with pytest.raises(UserError) as nobody:
        load_ledger(engine, study, truth)
    assert "no completed trial can vote (trial 0: " in str(nobody.value)
    assert reason in str(nobody.value)
    tell(engine, study, npy(out_of_fold()))
    found = load_ledger(engine, study, truth)
    assert found.numbers == (1,)
    assert reason in found.left_out[0]
    assert f"study {study.name}: trial 0: " in caplog.text
    assert "it does not vote" in caplog.text


def test_a_study_without_a_completed_trial_has_nobody_to_vote(
    engine: Engine, study: Study, truth: Truth
) -> None:
    take(engine, study, propose=propose)
    with pytest.raises(UserError, match="no trial is completed yet, so there is nobody to vote"):
        load_ledger(engine, study, truth)


def test_predictions_and_labels_travel_once(engine: Engine, study: Study, tmp_path: Path) -> None:
    tell(engine, study, npy(out_of_fold()))
    first = load_truth(engine, study, cache=tmp_path)
    before = load_ledger(engine, study, first, cache=tmp_path)
    with engine.begin() as connection:
        connection.execute(delete(chunks))
    (tmp_path / f"{study.contract.dataset_fingerprint}.npz").unlink()
    again = load_truth(engine, study, cache=tmp_path)
    assert again.labels.tolist() == first.labels.tolist()
    assert again.groups is None
    after = load_ledger(engine, study, again, cache=tmp_path)
    np.testing.assert_array_equal(after.probabilities, before.probabilities)


def test_a_damaged_cache_is_fetched_again(engine: Engine, study: Study, tmp_path: Path) -> None:
    tell(engine, study, npy(out_of_fold()))
    truth = load_truth(engine, study, cache=tmp_path)
    load_ledger(engine, study, truth, cache=tmp_path)
    for path in [*tmp_path.glob("oof/*.npy"), *tmp_path.glob("*.labels.npz")]:
        path.write_bytes(b"damaged")
    assert load_truth(engine, study, cache=tmp_path).labels.tolist() == truth.labels.tolist()
    assert len(load_ledger(engine, study, truth, cache=tmp_path)) == 1
