"""A study on SQLite, a dataset that trains in milliseconds and what a worker holds of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sqlalchemy import Engine

from databases import sqlite_with_tables
from muster.data.dataset import Dataset
from muster.data.folds import make_folds
from muster.settings import Settings
from muster.space import parse_space
from muster_db import claims, datasets
from muster_db.claims import Claim
from muster_db.contract import Contract
from muster_db.mirror import Mirror
from muster_db.study import Study, create_study
from muster_worker.machine import Machine
from muster_worker.run import Context
from samples import SCHEMA

SPACE: dict[str, Any] = {
    "learning_rate": {"low": 1e-3, "high": 1e-2, "log": True},
    "dropout": 0.1,
    "epochs": 3,
    "architecture": {"choose": ["gru"], "gru": {"hidden": {"choices": [4, 8]}}},
}
MACHINE = Machine("here", 1, torch.device("cpu"), 1, "CPU, 1 thread")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """One thread, as beside other tests; the count before comes back."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """An initialised SQLite database: what both servers do is tested in tests/muster_db."""
    connected = sqlite_with_tables(tmp_path / "muster.db", patience_seconds=1.0)
    yield connected
    connected.dispose()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of a worker that beats every 20 ms."""
    return Settings(
        cache_dir=tmp_path / "cache",
        heartbeat_seconds=0.02,
        checkpoint_seconds=600,
        probe_seconds=0,
    )


@pytest.fixture
def machine() -> Machine:
    """A machine of one CPU thread."""
    return MACHINE


@pytest.fixture
def make_study(engine: Engine) -> Callable[..., Study]:
    """Makes studies over twelve sequences; keys of the space may be replaced."""

    def make(*, name: str = "study", budget: int = 4, **changes: Any) -> Study:
        dataset = tiny_dataset()
        facts: dict[str, Any] = {
            "dataset_fingerprint": datasets.store(engine, dataset),
            "dataset_name": dataset.name,
            "dataset_schema": dataset.schema,
            "folds": tuple(int(fold) for fold in make_folds(dataset, folds=2, seed=0)),
            "metric": "macro_f1",
            "direction": "maximize",
            "seed": 7,
            "code_version": version("muster"),
        }
        maximum = changes.pop("max_attempts", 3)
        priority = changes.pop("priority", 0)
        facts |= {key: changes.pop(key) for key in [*changes] if key in Contract.model_fields}
        space = {"space": SPACE | changes}
        epochs = parse_space(space, place="here").max_epochs
        contract = Contract(**facts, space=space, steps_per_fold=epochs + 1)
        return create_study(
            engine,
            name=name,
            contract=contract,
            budget=budget,
            max_attempts=maximum,
            priority=priority,
        )

    return make


@pytest.fixture
def context(engine: Engine, settings: Settings) -> Callable[[Study], Context]:
    """What a fresh worker holds of a study."""

    def make(study: Study) -> Context:
        return Context(
            study=study,
            dataset=datasets.fetch(
                engine, study.contract.dataset_fingerprint, cache=settings.cache_dir
            ),
            folds=np.asarray(study.contract.folds, dtype=np.int64),
            space=parse_space(study.contract.space, place="here"),
            mirror=Mirror(engine, study),
            machine=MACHINE,
            settings=settings,
        )

    return make


@pytest.fixture
def claim(engine: Engine) -> Callable[..., Claim]:
    """Claims a trial that must be there."""

    def take(context: Context, *, worker_id: int = 1) -> Claim:
        found = claims.claim(
            engine,
            context.study,
            worker_id=worker_id,
            lease_seconds=60.0,
            propose=lambda: context.mirror.propose(context.space.suggest, worker_ordinal=0),
        )
        assert isinstance(found, Claim)
        return found

    return take


def tiny_dataset() -> Dataset:
    """Twelve sequences of 3 to 6 steps of one channel; the sign tells the class."""
    rng = np.random.default_rng(0)
    lengths = 3 + np.arange(12) % 4
    labels = (np.arange(12) % 2).astype(np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    signs = np.repeat(labels * 2 - 1, lengths)[:, None]
    return Dataset(
        name="tiny",
        schema=SCHEMA,
        values=(signs + rng.normal(0, 0.5, (int(offsets[-1]), 1))).astype(np.float32),
        offsets=offsets,
        static=np.zeros((12, 0), dtype=np.float32),
        labels=labels,
        groups=None,
        is_test=np.arange(12) >= 10,
        identifiers=tuple(f"{number:02}" for number in range(12)),
    )
