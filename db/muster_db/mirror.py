"""A worker's local copy of a study: samplers and pruners read it instead of the database."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy import Connection, Engine, select

from muster_db import records
from muster_db.engine import transact
from muster_db.local import NAME, LocalStorage
from muster_db.records import Proposal
from muster_db.samplers import SAMPLERS, exhaustive, random
from muster_db.study import Study
from muster_db.tables import optuna_trials, trials

BATCH = 500
# Draws by the study's sampler, then at random, before the space is searched for what is left.
SAMPLER_DRAWS = 8
RANDOM_DRAWS = 32


class Mirror:
    """All trials of a study as of the last refresh, which reads only what changed since.

    Threads may share it: nobody waits for the network but who refreshes.
    """

    def __init__(self, engine: Engine, study: Study) -> None:
        self._engine = engine
        self._study = study
        self._storage = LocalStorage(study.contract.direction)
        self._revision = 0
        self._params_seen: set[str] = set()
        # step to (number to value) of the complete trials
        self._values: defaultdict[int, dict[int, float]] = defaultdict(dict)
        self._refreshing = Lock()
        self._lock = Lock()

    def refresh(self) -> None:
        """Read the trials that changed since the last look. Raises Unavailable."""
        with self._refreshing:
            revision = self._revision
            changed, revision = transact(
                self._engine, lambda connection: self._read(connection, revision), read_only=True
            )
            with self._lock:
                for trial in changed:
                    self._put(trial)
                self._revision = revision

    @property
    def trials(self) -> list[FrozenTrial]:
        """The trials by number, as samplers see them: what is not finished is RUNNING."""
        with self._lock:
            return list(self._storage.trials)

    def values_at(self, step: int, *, other_than: int) -> list[float]:
        """What the complete trials had at a step, without the trial of that number."""
        with self._lock:
            found = self._values.get(step, {})
            return [value for number, value in found.items() if number != other_than]

    def propose(self, suggest: Callable[[Trial], Any], *, worker_ordinal: int) -> Proposal:
        """Draw the next configuration from fresh news; suggest asks a trial for its parameters.

        The draw follows from the study's seed, the next number, the worker's ordinal and the
        trials known. No configuration comes twice while another is found. Raises Unavailable.
        """
        self.refresh()
        makers = [SAMPLERS[self._study.contract.sampler]] * SAMPLER_DRAWS
        makers += [random] * RANDOM_DRAWS + [exhaustive]
        with self._lock:
            number = len(self._storage.trials)
            entropy = [self._study.contract.seed, number, worker_ordinal]
            seeds = np.random.SeedSequence(entropy).generate_state(len(makers))
            proposal: Proposal | None = None
            for maker, seed in zip(makers, seeds, strict=True):
                try:
                    proposal = self._draw(suggest, maker(int(seed)))
                except ValueError:
                    # exhaustive refuses a space without end: what was drawn last must do.
                    if maker is not exhaustive or proposal is None:
                        raise
                if proposal.hash not in self._params_seen:
                    return proposal
        if proposal is None:
            raise RuntimeError("no sampler was asked")
        return Proposal(proposal.params, proposal.distributions, is_repeat=True)

    def _draw(
        self, suggest: Callable[[Trial], Any], sampler: optuna.samplers.BaseSampler
    ) -> Proposal:
        study = optuna.Study(NAME, self._storage, sampler=sampler)
        number = self._storage.create_new_trial(study._study_id)
        try:
            suggest(Trial(study, number))
            drawn = self._storage.get_trial(number)
        finally:
            self._storage.drop_last()
        return Proposal(dict(drawn.params), dict(drawn.distributions))

    def _put(self, trial: FrozenTrial) -> None:
        self._storage.put(trial)
        self._params_seen.add(Proposal(trial.params, trial.distributions).hash)
        if trial.state == TrialState.COMPLETE:
            for step, value in trial.intermediate_values.items():
                self._values[step][trial.number] = value

    def _read(self, connection: Connection, revision: int) -> tuple[list[FrozenTrial], int]:
        rows = connection.execute(
            select(
                trials.c.trial_id,
                trials.c.number,
                trials.c.revision,
                optuna_trials.c.state,
                optuna_trials.c.datetime_start,
                optuna_trials.c.datetime_complete,
            )
            .join_from(trials, optuna_trials, trials.c.trial_id == optuna_trials.c.trial_id)
            .where(trials.c.study_id == self._study.study_id, trials.c.revision > revision)
            .order_by(trials.c.number)
        ).all()
        found: list[FrozenTrial] = []
        for start in range(0, len(rows), BATCH):
            found += _freeze(connection, rows[start : start + BATCH])
        return found, max((row.revision for row in rows), default=revision)


def _freeze(connection: Connection, rows: Sequence[Any]) -> list[FrozenTrial]:
    trial_ids = [row.trial_id for row in rows]
    told_ids = [row.trial_id for row in rows if row.state.is_finished()]
    params = records.read_params(connection, trial_ids)
    values = records.read_values(connection, told_ids)
    reports = records.read_reports(connection, told_ids)
    return [
        FrozenTrial(
            number=row.number,
            # A trial that waits to be resumed counts as running: Optuna would hand it out.
            state=row.state if row.state.is_finished() else TrialState.RUNNING,
            value=values.get(row.trial_id),
            datetime_start=row.datetime_start,
            datetime_complete=row.datetime_complete,
            params=params[row.trial_id][0],
            distributions=params[row.trial_id][1],
            user_attrs={},
            system_attrs={},
            intermediate_values=reports.get(row.trial_id, {}),
            trial_id=row.number,
        )
        for row in rows
    ]
