"""A study whose told trials can vote, without any training."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from sqlalchemy import Engine

from muster_db import blobs, datasets
from muster_db.study import Study
from samples import make_dataset, make_study, proposer, take
from searches import tell

SEQUENCES = 60
PROPOSE = proposer(5)


def make_voters(engine: Engine, *, trials: int, name: str = "study", **changes: Any) -> Study:
    """A study of 60 sequences in three folds, with so many completed trials."""
    fingerprint = datasets.store(engine, make_dataset(sequences=SEQUENCES))
    study = make_study(
        engine,
        name=name,
        budget=50,
        folds=tuple(i // 2 % 3 for i in range(SEQUENCES)),
        dataset_fingerprint=fingerprint,
        **changes,
    )
    for number in range(trials):
        tell_voter(engine, study, error=0.7 + 0.05 * (number % 4))
    return study


def tell_voter(engine: Engine, study: Study, *, error: float) -> None:
    """Tell a trial whose probabilities are so far from the truth."""
    held = take(engine, study, propose=PROPOSE)
    chance = np.random.default_rng(held.number)
    truth = np.eye(2)[np.arange(SEQUENCES) % 2]
    noise = chance.dirichlet(np.ones(2), size=SEQUENCES)
    probabilities = (1 - error) * truth + error * noise
    value = float((probabilities.argmax(axis=1) == np.arange(SEQUENCES) % 2).mean())
    parts = {"oof": _npy(probabilities), **{f"fold{fold}": b"%d" % fold for fold in range(3)}}
    tell(
        engine, held, value, blobs={name: blobs.put(engine, data) for name, data in parts.items()}
    )


def _npy(array: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array.astype(np.float16), allow_pickle=False)
    return stream.getvalue()
