from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from muster.confusion import merit
from muster.data.dataset import Dataset
from muster.data.fingerprint import fingerprint
from muster.errors import UserError
from muster.fold_model import FoldModel
from muster.voting import vote
from muster_ensemble.bundle import Bundle, write_bundle
from muster_ensemble.predict import load
from muster_ensemble.verify import reproduce


@pytest.fixture
def folds(walks: Dataset) -> NDArray[np.int64]:
    found = np.full(len(walks), -1, dtype=np.int64)
    found[walks.train_index] = np.arange(len(walks.train_index)) % 2
    return found


def with_figure(bundle: Bundle, walks: Dataset, folds: object, figure: float) -> Bundle:
    content = {
        "dataset_fingerprint": fingerprint(walks),
        "dataset_name": walks.name,
        "folds": np.asarray(folds).tolist(),
        "metric": "macro_f1",
    }
    text = json.dumps(content)
    sha = hashlib.sha256(text.encode()).hexdigest()
    return replace(bundle, contract=text, contract_hash=sha, figure=figure)


def test_the_figure_is_found_by_the_models_that_held_each_sequence_out(
    bundle: Bundle,
    walks: Dataset,
    folds: np.ndarray[tuple[int], np.dtype[np.int64]],
    tmp_path: Path,
) -> None:
    device = torch.device("cpu")
    each = np.zeros((3, len(walks), 3))
    for row, member in enumerate(bundle.members):
        for fold, data in enumerate(member.folds):
            held = np.flatnonzero(folds == fold)
            model = FoldModel.from_bytes(data)
            each[row, held] = model.predict_proba(walks, held, device=device)
    rows = walks.train_index
    expected = merit("macro_f1", walks.labels[rows], vote(each[:, rows], rule="majority"))
    path = tmp_path / "bundle.zip"
    write_bundle(path, with_figure(bundle, walks, folds, expected))
    verdict = reproduce(path, load(path, device=device), walks)
    assert (verdict.metric, verdict.sequences) == ("macro_f1", 18)
    assert verdict.found == pytest.approx(expected)
    write_bundle(path, with_figure(bundle, walks, folds, expected + 0.1))
    with pytest.raises(UserError, match=r"bundle\.zip: reaches macro_f1 0\.\d+ out of fold, not"):
        reproduce(path, load(path, device=device), walks)


def test_what_does_not_belong_to_the_bundle_is_said_so(
    bundle: Bundle,
    walks: Dataset,
    folds: np.ndarray[tuple[int], np.dtype[np.int64]],
    tmp_path: Path,
) -> None:
    path = tmp_path / "bundle"
    write_bundle(path, bundle)
    with pytest.raises(UserError, match="holds no contract or figure"):
        reproduce(path, load(path), walks)
    write_bundle(path, with_figure(bundle, walks, folds, 0.5))
    with pytest.raises(UserError, match="made of the dataset walks with the fingerprint"):
        reproduce(path, load(path), replace(walks, name="runs"))
    write_bundle(path, with_figure(bundle, walks, folds[:-1], 0.5))
    with pytest.raises(UserError, match="folds do not fit the dataset"):
        reproduce(path, load(path), walks)
    write_bundle(path, with_figure(bundle, walks, np.where(folds == 1, 2, folds), 0.5))
    with pytest.raises(UserError, match="not one model for each of 3 folds"):
        reproduce(path, load(path), walks)
