from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState
from sqlalchemy import Engine, delete

from databases import sqlite_with_tables
from muster.data.dataset import Dataset
from muster.errors import UserError
from muster.selection import Choice
from muster_db import blobs, trials
from muster_db.records import Proposal
from muster_db.study import Study
from muster_db.tables import trial_blobs
from muster_ensemble.bundle import Bundle, Member, read_bundle, write_bundle
from muster_ensemble.export import history, load_candidates, make_bundle
from muster_ensemble.ledger import load_trials
from muster_ensemble.predict import load
from samples import make_study, take

SPACE = {
    "space": {
        "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
        "architecture": {"choose": ["gru", "cnn", "lstm"], "gru": {}, "cnn": {}, "lstm": {}},
    }
}


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    connected = sqlite_with_tables(tmp_path / "muster.db")
    yield connected
    connected.dispose()


@pytest.fixture
def study(engine: Engine, walks: Dataset) -> Study:
    folds = tuple(np.where(walks.is_test, -1, np.arange(len(walks)) % 2).tolist())
    return make_study(engine, budget=6, dataset_schema=walks.schema, folds=folds, space=SPACE)


def npy(array: NDArray[Any]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array.astype(np.float16), allow_pickle=False)
    return stream.getvalue()


def proposed(learning_rate: float, architecture: str) -> Proposal:
    return Proposal(
        {"learning_rate": learning_rate, "architecture": architecture},
        {
            "learning_rate": FloatDistribution(1e-4, 1e-2, log=True),
            "architecture": CategoricalDistribution(("gru", "cnn", "lstm")),
        },
    )


def tell(engine: Engine, study: Study, walks: Dataset, *, value: float, member: Member) -> None:
    """Tell one completed trial with everything that a worker stores."""
    name = member.config.architecture.name
    held = take(engine, study, propose=lambda: proposed(0.001 + value / 1000, name))
    oof = value * np.eye(3)[walks.labels] + (1 - value) / 3
    oof[walks.test_index] = np.nan
    parts = {
        "oof": npy(oof),
        "test": npy(np.full((len(walks.test_index), 3), 1 / 3)),
        "curves": json.dumps([{"fold": 0, "epoch": 0, "train_loss": 1.0, "score": 0.5}]).encode(),
    }
    parts |= {f"fold{fold}": data for fold, data in enumerate(member.folds)}
    trials.tell(
        engine,
        held,
        state=TrialState.COMPLETE,
        value=value,
        attributes={"seconds": 2.5, "fold_scores": [0.4, 0.6]},
        blobs={key: blobs.put(engine, data) for key, data in parts.items()},
    )


def test_a_study_becomes_a_bundle_that_predicts(
    engine: Engine, study: Study, walks: Dataset, bundle: Bundle, tmp_path: Path
) -> None:
    by_name = {member.config.architecture.name: member for member in bundle.members}
    for name, value in (("cnn", 0.5), ("gru", 0.9), ("lstm", 0.7)):
        tell(engine, study, walks, value=value, member=by_name[name])
    pruned = take(engine, study, propose=lambda: proposed(0.01, "gru"))
    trials.tell(engine, pruned, state=TrialState.PRUNED, value=None, attributes={}, blobs={})

    told = load_trials(engine, study)
    assert [(p.number, p.value, p.state) for p in history(told)] == [
        (0, 0.5, "complete"),
        (1, 0.9, "complete"),
        (2, 0.7, "complete"),
        (3, None, "pruned"),
    ]
    candidates = load_candidates(engine, study, (2, 0), trials=told)
    assert sorted(candidates) == [0, 2]
    first = candidates[0]
    assert (first.architecture, first.seconds, first.fold_scores) == ("cnn", 2.5, (0.4, 0.6))
    assert first.config.learning_rate == pytest.approx(0.0015)
    assert first.oof.shape == (len(walks), 3)
    assert first.oof.dtype == np.float32
    assert first.curves[0]["score"] == 0.5

    choice = Choice("soft", (2, 0), (0.7, 0.3), (0.9, 1.2), (1.0, 1.5, 1.0))
    made = make_bundle(engine, study, [candidates[2], candidates[0]], choice=choice)
    assert (made.rule, made.weights) == ("soft", (0.7, 0.3))
    assert (made.temperatures, made.factors) == ((0.9, 1.2), (1.0, 1.5, 1.0))
    write_bundle(tmp_path / "bundle", made)
    assert read_bundle(tmp_path / "bundle") == made
    assert made.contract_hash == study.contract.hash
    assert [m.config for m in made.members] == [by_name[n].config for n in ("lstm", "cnn")]
    assert load(tmp_path / "bundle").predict_proba(walks).shape == (len(walks), 3)


def test_a_member_whose_weights_or_predictions_are_gone_is_named(
    engine: Engine, study: Study, walks: Dataset, bundle: Bundle
) -> None:
    for position, member in enumerate(bundle.members):
        tell(engine, study, walks, value=0.5 + position / 10, member=member)
    blobs.keep_best_weights(engine, study, keep=1)
    told = load_trials(engine, study)
    candidates = load_candidates(engine, study, (0, 2), trials=told)
    assert [len(candidates[n].weights) for n in (0, 2)] == [0, 2]
    with pytest.raises(UserError, match="trial 0: its weights were collected"):
        make_bundle(engine, study, [candidates[0]], choice=Choice("soft", (0,), (1.0,)))
    with engine.begin() as connection:
        connection.execute(delete(trial_blobs).where(trial_blobs.c.name == "curves"))
    with pytest.raises(UserError, match="trial 2 lacks its predictions or curves"):
        load_candidates(engine, study, (2,), trials=told)
