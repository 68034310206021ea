"""Small contracts, proposals and datasets that tests are made of."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from sqlalchemy import Engine, update

from muster.data.dataset import Dataset
from muster.data.schema import Schema
from muster_db.claims import Claim, claim
from muster_db.clock import clock
from muster_db.contract import Contract
from muster_db.records import Proposal
from muster_db.study import Study, create_study
from muster_db.tables import trials

SCHEMA = Schema(channels=("x",), classes=("a", "b"), description={"format": "npz"})


def make_contract(**changes: Any) -> Contract:
    """A contract of a study that maximises over two folds of six sequences."""
    facts: dict[str, Any] = {
        "dataset_fingerprint": "f" * 64,
        "dataset_name": "sample",
        "dataset_schema": SCHEMA,
        "folds": (0, 1, 0, 1, 0, 1),
        "metric": "macro_f1",
        "direction": "maximize",
        "space": {"space": {"learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}}},
        "seed": 7,
        "steps_per_fold": 11,
        "code_version": "0.1.0",
    }
    return Contract(**(facts | changes))


def make_study(engine: Engine, *, budget: int = 4, name: str = "study", **changes: Any) -> Study:
    """A study with that budget."""
    others = {key: changes.pop(key) for key in ("max_attempts", "limits") if key in changes}
    contract = make_contract(**changes)
    return create_study(engine, name=name, contract=contract, budget=budget, **others)


def proposer(seed: int = 0) -> Callable[[], Proposal]:
    """Draws a new configuration with each call; two seeds never draw the same."""
    counter = itertools.count()

    def propose() -> Proposal:
        rng = np.random.default_rng([seed, next(counter)])
        return Proposal(
            {
                "learning_rate": float(10 ** rng.uniform(-4, -2)),
                "architecture.gru.layers": int(rng.integers(1, 5)),
                "architecture": "gru",
                "bidirectional": True,
            },
            {
                "learning_rate": FloatDistribution(1e-4, 1e-2, log=True),
                "architecture.gru.layers": IntDistribution(1, 4),
                "architecture": CategoricalDistribution(("lstm", "gru")),
                "bidirectional": CategoricalDistribution((False, True)),
            },
        )

    return propose


def take(
    engine: Engine,
    study: Study,
    *,
    worker_id: int = 1,
    lease_seconds: float = 60.0,
    propose: Callable[[], Proposal] | None = None,
    ahead: bool = False,
    hurry: bool = False,
) -> Claim:
    """Claim a trial that must be there."""
    found = claim(
        engine,
        study,
        worker_id=worker_id,
        lease_seconds=lease_seconds,
        propose=propose or proposer(worker_id),
        ahead=ahead,
        hurry=hurry,
    )
    if not isinstance(found, Claim):
        raise AssertionError(f"nothing to claim: {found}")
    return found


def run_out(engine: Engine, held: Claim) -> None:
    """Move the end of the lease, or of the grace after it, into the past; nothing waits."""
    with engine.begin() as connection:
        connection.execute(
            update(trials).where(trials.c.trial_id == held.trial_id).values(expires_at=clock(-1.0))
        )


def make_dataset(name: str = "sample", sequences: int = 6) -> Dataset:
    """A dataset of short sequences of one channel and two classes."""
    rng = np.random.default_rng(0)
    lengths = np.arange(3, 3 + sequences)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Dataset(
        name=name,
        schema=SCHEMA,
        values=rng.normal(size=(int(offsets[-1]), 1)).astype(np.float32),
        offsets=offsets,
        static=np.zeros((sequences, 0), dtype=np.float32),
        labels=(np.arange(sequences) % 2).astype(np.int64),
        groups=None,
        is_test=np.zeros(sequences, dtype=bool),
        identifiers=tuple(f"{i:03}" for i in range(sequences)),
    )
