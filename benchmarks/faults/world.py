"""A study whose trials are light, and whose values depend on their numbers alone.

Its space has one configuration and a trial's seed follows from its number: whoever trains a
trial, wherever it was interrupted, must find the same value to the bit.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
from optuna.trial import TrialState
from sqlalchemy import Engine, func, select, update

from muster.data.dataset import Dataset
from muster.data.fingerprint import fingerprint
from muster.data.folds import make_folds
from muster.data.schema import Schema
from muster.evaluation import Evaluation
from muster.space import parse_space
from muster_db import datasets, leases, schema
from muster_db.claims import Claim
from muster_db.clock import clock
from muster_db.contract import Contract
from muster_db.engine import connect
from muster_db.study import Study, create_study, open_study
from muster_db.tables import (
    blobs,
    optuna_reports,
    optuna_trials,
    optuna_values,
    studies,
    trial_blobs,
    trials,
)
from muster_worker.run import trial_config

NAME = "faults"
FOLDS = 2
EPOCHS = 6
SEQUENCES = 128
STEPS = 200
CHANNELS = 3
HOUR_SECONDS = 3600.0
ONE_AT_A_TIME = Lock()


@dataclass(frozen=True)
class Verdict:
    """Figures of a scenario, and what broke its promise."""

    figures: dict[str, Any]
    problems: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether the promise holds."""
        return not self.problems


@dataclass(frozen=True)
class World:
    """A study on a database, and a folder for logs and caches."""

    folder: Path
    url: str
    engine: Engine
    study: Study

    @property
    def epochs(self) -> int:
        """Epochs of all trials when nothing goes wrong."""
        return self.study.budget * FOLDS * (self.study.contract.steps_per_fold - 1)

    def told(self) -> int:
        """Trials told so far, by the study's own counter."""
        query = select(studies.c.told).where(studies.c.study_id == self.study.study_id)
        with self.engine.connect() as connection:
            return int(connection.execute(query).scalar_one())

    def is_told(self) -> bool:
        """Whether the whole budget is told."""
        return self.told() >= self.study.budget

    def rows(self) -> list[Any]:
        """Our row of each trial, by number."""
        query = select(trials).where(trials.c.study_id == self.study.study_id)
        with self.engine.connect() as connection:
            return list(connection.execute(query.order_by(trials.c.number)))

    def running(self) -> list[Any]:
        """Rows of the trials that somebody trains."""
        return [row for row in self.rows() if row.state == leases.RUNNING]

    def held(self) -> list[Any]:
        """Rows of the trials that somebody trains, or has claimed ahead."""
        return [row for row in self.rows() if row.state in leases.HELD]

    def reports(self) -> int:
        """Intermediate values that have reached the database."""
        with self.engine.connect() as connection:
            query = select(func.count()).select_from(optuna_reports)
            return int(connection.execute(query).scalar_one())

    def checkpoints(self) -> dict[int, dict[str, str]]:
        """Trial id to name to SHA-256 of the checkpoints stored."""
        query = select(trial_blobs).where(trial_blobs.c.name.like("checkpoint%"))
        found: dict[int, dict[str, str]] = {}
        with self.engine.connect() as connection:
            for row in connection.execute(query):
                found.setdefault(row.trial_id, {})[row.name] = row.sha
        return found

    def move_clock(self, seconds: float = HOUR_SECONDS) -> None:
        """Let so much time pass, as leases and blobs see it."""
        moment = clock(-seconds)
        with self.engine.begin() as connection:
            connection.execute(
                update(trials).where(trials.c.state.in_(leases.HELD)).values(expires_at=moment)
            )
            connection.execute(update(blobs).values(used_at=moment))

    def problems(self) -> list[str]:
        """What is wrong with a study that should be told whole, every trial complete once."""
        found = self._count_problems()
        for number, value in sorted(self._values().items()):
            if value != (wanted := undisturbed(number, self.study.contract.steps_per_fold - 1)):
                found.append(f"trial {number} was told {value}, undisturbed it is {wanted}")
        return found

    def _count_problems(self) -> list[str]:
        budget = self.study.budget
        query = select(optuna_trials).where(optuna_trials.c.study_id == self.study.study_id)
        with self.engine.connect() as connection:
            seen = list(connection.execute(query))
        states = Counter(TrialState(row.state).name for row in seen)
        found = []
        if states != Counter(COMPLETE=budget):
            found.append(f"wanted {budget} COMPLETE trials, found {dict(states)}")
        if sorted(row.number for row in seen) != list(range(budget)):
            found.append("the numbers of the trials have gaps or repeat")
        if self.told() != budget:
            found.append(f"{self.told()} trials count as told, not {budget}")
        if left := [row.number for row in self.rows() if row.state != "told"]:
            found.append(f"trials {left} are not told")
        return found

    def _values(self) -> dict[int, float]:
        query = (
            select(optuna_trials.c.number, optuna_values.c.value)
            .join_from(
                optuna_trials, optuna_values, optuna_trials.c.trial_id == optuna_values.c.trial_id
            )
            .where(optuna_trials.c.study_id == self.study.study_id)
        )
        with self.engine.connect() as connection:
            return {number: value for number, value in connection.execute(query)}


def make_world(
    folder: Path, url: str, *, trials: int, epochs: int = EPOCHS, max_attempts: int = 3
) -> World:
    """Make the tables, the dataset and a study of so many trials."""
    folder.mkdir(parents=True, exist_ok=True)
    engine = connect(url)
    # Alembic's is one a process, too.
    with ONE_AT_A_TIME:
        schema.initialise(engine)
    datasets.store(engine, make_dataset())
    create_study(
        engine,
        name=NAME,
        contract=make_contract(epochs),
        budget=trials,
        max_attempts=max_attempts,
    )
    return World(folder, url, engine, open_study(engine, NAME))


@cache
def make_dataset() -> Dataset:
    """Noise around a tone of the class; an epoch of a fold takes some 100 ms on one core."""
    rng = np.random.default_rng(0)
    labels = (np.arange(SEQUENCES) % 2).astype(np.int64)
    tone = np.sin(np.arange(STEPS)[None, :] * (labels[:, None] + 1) / 4)
    values = rng.normal(size=(SEQUENCES, STEPS, CHANNELS)) + tone[:, :, None]
    return Dataset(
        name="tones",
        schema=Schema(
            channels=tuple(f"c{channel}" for channel in range(CHANNELS)),
            classes=("low", "high"),
            description={},
        ),
        values=values.reshape(-1, CHANNELS).astype(np.float32),
        offsets=np.arange(SEQUENCES + 1, dtype=np.int64) * STEPS,
        static=np.zeros((SEQUENCES, 0), dtype=np.float32),
        labels=labels,
        groups=None,
        is_test=np.zeros(SEQUENCES, dtype=bool),
        identifiers=tuple(str(number) for number in range(SEQUENCES)),
    )


@cache
def make_contract(epochs: int) -> Contract:
    """One configuration, scored by a number that no two different models share by chance."""
    dataset = make_dataset()
    space = {
        "space": {
            "epochs": epochs,
            "batch_size": 16,
            "dropout": 0.2,
            "architecture": {"choose": ["gru"], "gru": {"hidden": 32}},
        }
    }
    return Contract(
        dataset_fingerprint=fingerprint(dataset),
        dataset_name=dataset.name,
        dataset_schema=dataset.schema,
        folds=tuple(int(fold) for fold in make_folds(dataset, folds=FOLDS, seed=0)),
        metric="log_loss",
        direction="minimize",
        space=space,
        seed=5,
        sampler="random",
        pruner="none",
        steps_per_fold=epochs + 1,
        code_version=version("muster"),
    )


def undisturbed(number: int, epochs: int) -> float:
    """The value of the trial of that number, trained here in one go."""
    # PyTorch's random state is the process's: two at a time would draw from each other's.
    with ONE_AT_A_TIME:
        return _train(number, epochs)


@cache
def _train(number: int, epochs: int) -> float:
    contract = make_contract(epochs)
    study = Study(0, NAME, contract, number + 1, "open", 0, 1)
    claim = Claim(0, 0, number, {}, 1, "", 0.0)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        evaluation = Evaluation(
            make_dataset(),
            np.asarray(contract.folds, dtype=np.int64),
            trial_config(parse_space(contract.space, place="here"), study, claim),
            metric=contract.metric,
            device=torch.device("cpu"),
        )
        for _ in evaluation.epochs():
            pass
        return float(evaluation.result().value)
    finally:
        torch.set_num_threads(before)
