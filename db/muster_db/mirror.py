"""A worker's local copy of a study: samplers and pruners read it instead of the database."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from threading import Lock
from typing import Any

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy import Connection, Engine, select

from muster_db import records
from muster_db.engine import transact
from muster_db.history import History, Row
from muster_db.local import NAME, STUDY_ID, LocalStorage
from muster_db.pruning import PRUNERS, Report, Standing
from muster_db.records import Proposal
from muster_db.samplers import SAMPLERS, Draw, grid, random
from muster_db.study import Study
from muster_db.tables import optuna_trials, trials
from muster_db.walk import Walk

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
        self._history = History()
        self._walk: Walk | None = None
        self._revision = 0
        self._refreshing = Lock()
        self._lock = Lock()
        self._drawing = Lock()

    def refresh(self) -> None:
        """Read the trials that changed since the last look. Raises Unavailable."""
        with self._refreshing:
            revision = self._revision
            changed, revision = transact(
                self._engine, lambda connection: self._read(connection, revision), read_only=True
            )
            with self._lock:
                for row in changed:
                    self._history.put(row)
                self._revision = revision

    @property
    def trials(self) -> list[FrozenTrial]:
        """The trials by number, as samplers see them: what is not finished is RUNNING."""
        with self._lock:
            return self._history.freeze()

    def is_hopeless(self, number: int, report: Report) -> bool:
        """Whether the study's pruner gives the trial of that number up after its newest report."""
        contract = self._study.contract
        with self._lock:
            return PRUNERS[contract.pruner](
                Standing(
                    number=number,
                    report=report,
                    history=self._history,
                    steps_per_fold=contract.steps_per_fold,
                    is_larger_better=contract.direction == "maximize",
                )
            )

    def propose(self, suggest: Callable[[Any], Any], *, worker_ordinal: int) -> Proposal:
        """Draw the next configuration from fresh news; suggest asks a trial for its parameters.

        The first trials have the contract's first configurations. A draw follows from the study's
        seed, the next number, the worker's ordinal and the trials known. No configuration comes
        twice while another is found. Raises Unavailable.
        """
        self.refresh()
        contract = self._study.contract
        makers = [SAMPLERS[contract.sampler]] * SAMPLER_DRAWS
        makers += [random] * RANDOM_DRAWS + [grid]
        # A draw may take a second, and whoever trains must not wait for it.
        with self._lock:
            history = self._history.snapshot()
        number = len(history)
        given = contract.first[number] if number < len(contract.first) else {}
        proposal: Proposal | None = None
        with self._drawing:
            if self._walk is None or self._walk.suggest != suggest:
                self._walk = Walk(suggest)
            for redraw, maker in enumerate(makers):
                draw = Draw(
                    study_seed=contract.seed,
                    number=number,
                    ordinal=worker_ordinal,
                    redraw=redraw,
                    walk=self._walk,
                    history=history,
                    first=len(contract.first),
                    is_larger_better=contract.direction == "maximize",
                )
                storage = LocalStorage(contract.direction, history)
                drawn = _draw(suggest, storage, maker(draw), given)
                proposal = replace(drawn, only_for=number if given else None)
                if not history.is_known(proposal.hash):
                    return proposal
        if proposal is None:
            raise RuntimeError("no sampler was asked")
        return replace(proposal, is_repeat=True)

    def _read(self, connection: Connection, revision: int) -> tuple[list[Row], int]:
        rows = connection.execute(
            select(
                trials.c.trial_id,
                trials.c.number,
                trials.c.revision,
                trials.c.params_hash,
                optuna_trials.c.state,
            )
            .join_from(trials, optuna_trials, trials.c.trial_id == optuna_trials.c.trial_id)
            .where(trials.c.study_id == self._study.study_id, trials.c.revision > revision)
            .order_by(trials.c.number)
        ).all()
        found: list[Row] = []
        for start in range(0, len(rows), BATCH):
            found += _whole(connection, rows[start : start + BATCH])
        return found, max((row.revision for row in rows), default=revision)


def _draw(
    suggest: Callable[[Any], Any],
    storage: LocalStorage,
    sampler: optuna.samplers.BaseSampler,
    given: Mapping[str, Any],
) -> Proposal:
    study = optuna.Study(NAME, storage, sampler=sampler)
    number = storage.create_new_trial(STUDY_ID)
    # Optuna's own way of asking for values, which no sampler is asked for then.
    storage.set_trial_system_attr(number, "fixed_params", dict(given))
    suggest(Trial(study, number))
    drawn = storage.get_trial(number)
    return Proposal(dict(drawn.params), dict(drawn.distributions))


def _whole(connection: Connection, rows: Sequence[Any]) -> list[Row]:
    trial_ids = [row.trial_id for row in rows]
    told_ids = [row.trial_id for row in rows if row.state.is_finished()]
    params = records.read_internal_params(connection, trial_ids)
    values = records.read_values(connection, told_ids)
    reports = records.read_reports(connection, told_ids)
    return [
        Row(
            number=row.number,
            # A trial that waits to be resumed counts as running: Optuna would hand it out.
            state=row.state if row.state.is_finished() else TrialState.RUNNING,
            distributions=tuple((name, each) for name, _, each in params[row.trial_id]),
            values=tuple(value for _, value, _ in params[row.trial_id]),
            value=values.get(row.trial_id),
            reports=reports.get(row.trial_id, {}),
            params_hash=row.params_hash,
        )
        for row in rows
    ]
