"""Eight workers in virtual time, of plain Optuna and of muster: a search takes seconds.

Trials last as long as seeded draws say, the same on both sides, so that their ends come in the
same order and the machine's load decides nothing. What is drawn and when is real: plain Optuna
tells and asks; muster claims ahead, hears of others every NEWS_SECONDS, draws anew as a trial
begins and tells, through the desks, mirrors and tables of its workers, on an SQLite file.
"""

from __future__ import annotations

import heapq
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import optuna
import torch
from benchmarks.coordination.task import make_study, tiny_dataset
from optuna.trial import FixedTrial, Trial, TrialState
from sqlalchemy import Engine

from muster.errors import LeaseLost
from muster.settings import Settings
from muster_db import schema, trials, workers
from muster_db.claims import Claim
from muster_db.engine import connect
from muster_db.history import End
from muster_db.mirror import Mirror
from muster_db.study import Study
from muster_worker.ahead import newest
from muster_worker.courier import NEWS_SECONDS
from muster_worker.desk import Desk
from muster_worker.machine import Machine
from muster_worker.room import Ready
from muster_worker.run import Context

WORKERS: Final = 8
# The median; two trials of three last between 0.6 and 1.6 times as long.
TRIAL_SECONDS: Final = 30.0
SPREAD: Final = 0.5
# Waiting for a disk says nothing of a search.
MEMORY: Final = "/dev/shm" if Path("/dev/shm").is_dir() else None
MACHINE: Final = Machine("simulated", 0, torch.device("cpu"), 1, "none")
Objective = Callable[[Any], float]


class Side(Protocol):
    """The workers of one side."""

    def turn(self, worker: int) -> float:
        """Tell the trial that this worker has trained, if any, and begin one; the new value."""

    def hear(self, worker: int) -> None:
        """Let this worker hear of what others have told so far."""


def run(side: Side, *, trials: int, seed: int) -> list[float]:
    """The values of so many trials in the order of their ends."""
    rng = np.random.default_rng(seed)
    events: list[tuple[float, int, bool]] = []
    values: dict[int, float] = {}

    def begin(now: float, worker: int) -> None:
        values[worker] = side.turn(worker)
        ends_at = now + TRIAL_SECONDS * float(rng.lognormal(0.0, SPREAD))
        # Its last news before that.
        heapq.heappush(events, (ends_at - NEWS_SECONDS * float(rng.random()), worker, False))
        heapq.heappush(events, (ends_at, worker, True))

    for worker in range(WORKERS):
        begin(0.0, worker)
    told: list[float] = []
    while len(told) < trials:
        now, worker, is_end = heapq.heappop(events)
        if is_end:
            told.append(values[worker])
            begin(now, worker)
        else:
            side.hear(worker)
    return told


def plain(objective: Objective, *, trials: int, seed: int) -> list[float]:
    """A search by plain Optuna, whose workers know all that was told at any time."""
    return run(_Plain(objective, seed), trials=trials, seed=seed)


def muster(objective: Objective, *, trials: int, seed: int) -> list[float]:
    """The same search by muster, each worker with a mirror of its own."""
    with tempfile.TemporaryDirectory(prefix="muster-benchmark-", dir=MEMORY) as folder:
        engine = connect(f"sqlite:///{folder}/muster.db")
        schema.initialise(engine)
        # A worker trains one more, and has claimed another one.
        budget = trials + 2 * WORKERS
        study = make_study(engine, name="quality", budget=budget, seed=seed, direction="minimize")
        told = run(_Muster(engine, study, objective, Path(folder)), trials=trials, seed=seed)
        engine.dispose()
        return told


class _Plain:
    def __init__(self, objective: Objective, seed: int) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sampler = optuna.samplers.TPESampler(
                seed=seed, multivariate=True, group=True, constant_liar=True
            )
        self._study = optuna.create_study(sampler=sampler)
        self._objective = objective
        self._training: dict[int, tuple[Trial, float]] = {}

    def turn(self, worker: int) -> float:
        if worker in self._training:
            self._study.tell(*self._training[worker])
        trial = self._study.ask()
        self._training[worker] = trial, self._objective(trial)
        return self._training[worker][1]

    def hear(self, worker: int) -> None:
        """It asks the storage itself."""


@dataclass(frozen=True)
class _Asked:
    """Stands in for a search space."""

    suggest: Objective


class _Muster:
    def __init__(self, engine: Engine, study: Study, objective: Objective, folder: Path) -> None:
        self._engine = engine
        self._objective = objective
        self._desks = [
            Desk(
                _context(engine, study, objective, folder),
                workers.register(engine, study, host="simulated", device="none"),
                engine,
            )
            for _ in range(WORKERS)
        ]
        self._ahead: dict[int, Ready] = {}
        self._training: dict[int, tuple[Claim, float]] = {}

    def turn(self, worker: int) -> float:
        desk = self._desks[worker]
        ended = self._training.pop(worker, None)
        if ended is not None:
            desk.context.mirror.end(ended[0].number, End(TrialState.COMPLETE, ended[1]))
        # The worker takes this one before its courier has told anybody of the last one's end.
        ready = newest(self._ahead[worker]) if worker in self._ahead else None
        if ended is not None:
            self._tell(*ended)
        claim = self._begin(desk, ready)
        self._training[worker] = claim, self._objective(FixedTrial(claim.params))
        self._ahead[worker] = Ready(desk, _claimed(desk, ahead=True), is_ahead=True)
        return self._training[worker][1]

    def hear(self, worker: int) -> None:
        self._desks[worker].context.mirror.refresh()

    def _begin(self, desk: Desk, ready: Ready | None) -> Claim:
        if ready is None:
            return _claimed(desk, ahead=False)
        try:
            trials.begin(self._engine, ready.claim, redrawn=ready.redrawn)
        except LeaseLost:
            # Another worker has begun the same configuration since the last news.
            trials.release(self._engine, ready.claim)
            return _claimed(desk, ahead=False)
        return ready.claim

    def _tell(self, claim: Claim, value: float) -> None:
        trials.tell(
            self._engine,
            claim,
            state=TrialState.COMPLETE,
            value=value,
            attributes={},
            blobs={},
            is_first_news=True,
        )


def _context(engine: Engine, study: Study, objective: Objective, folder: Path) -> Context:
    return Context(
        study=study,
        dataset=tiny_dataset(),
        folds=np.asarray(study.contract.folds, dtype=np.int64),
        space=_Asked(objective),  # type: ignore[arg-type]
        mirror=Mirror(engine, study),
        machine=MACHINE,
        settings=Settings(cache_dir=folder, lease_seconds=3600),
    )


def _claimed(desk: Desk, *, ahead: bool) -> Claim:
    found = desk.claim(ahead=ahead)
    if not isinstance(found, Claim):
        raise RuntimeError(f"nothing to claim: {found}")
    return found
