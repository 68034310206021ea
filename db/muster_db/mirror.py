"""A worker's local copy of a study: samplers and pruners read it instead of the database."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from threading import Lock
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy import Connection, Engine, select

from muster_db import digest, records
from muster_db.engine import transact
from muster_db.history import History, Row
from muster_db.leases import TOLD
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
RUNNING = digest.Outcome(TrialState.RUNNING, None, {})


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
        # name to (name, distribution): one name has one distribution for good
        self._distributions: dict[str, tuple[str, BaseDistribution]] = {}
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

    @property
    def finished(self) -> int:
        """How many trials were complete, pruned or failed at the last refresh."""
        with self._lock:
            return self._history.finished

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

    def propose(
        self,
        suggest: Callable[[Any], Any],
        *,
        worker_ordinal: int,
        number: int | None = None,
    ) -> Proposal:
        """Draw the next configuration from fresh news; suggest asks a trial for its parameters.

        number: of the trial that it is for, where that has been claimed; else the next one's.
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
        number = len(history) if number is None else number
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
                trials.c.state,
                trials.c.params,
                trials.c.outcome,
            )
            .where(trials.c.study_id == self._study.study_id, trials.c.revision > revision)
            .order_by(trials.c.number)
        ).all()
        found = {row.number: self._row(connection, row) for row in rows if _has_digest(row)}
        plain = [row for row in rows if row.number not in found]
        for start in range(0, len(plain), BATCH):
            found |= _read_whole(connection, plain[start : start + BATCH])
        newest = max((row.revision for row in rows), default=revision)
        return [found[row.number] for row in rows], newest

    def _row(self, connection: Connection, row: Any) -> Row:
        params = digest.read_params(row.params)
        if any(name not in self._distributions for name, _ in params):
            whole = records.read_internal_params(connection, [row.trial_id])[row.trial_id]
            self._distributions |= {name: (name, each) for name, _, each in whole}
        outcome = digest.read_outcome(row.outcome) if row.outcome is not None else RUNNING
        return Row(
            number=row.number,
            state=outcome.state,
            distributions=tuple(self._distributions[name] for name, _ in params),
            values=tuple(value for _, value in params),
            value=outcome.value,
            reports=outcome.reports,
            params_hash=row.params_hash,
        )


def _has_digest(row: Any) -> bool:
    """Whether the row was written by revision 0004 or later of the schema, from first to last."""
    return row.params is not None and (row.state == TOLD) == (row.outcome is not None)


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


def _read_whole(connection: Connection, rows: Sequence[Any]) -> dict[int, Row]:
    """Trials by number, out of Optuna's tables."""
    trial_ids = [row.trial_id for row in rows]
    shown = select(optuna_trials.c.trial_id, optuna_trials.c.state)
    states = {
        trial_id: state
        for trial_id, state in connection.execute(
            shown.where(optuna_trials.c.trial_id.in_(trial_ids))
        )
    }
    told_ids = {trial_id for trial_id, state in states.items() if state.is_finished()}
    params = records.read_internal_params(connection, trial_ids)
    values = records.read_values(connection, list(told_ids))
    reports = records.read_reports(connection, list(told_ids))
    return {
        row.number: Row(
            number=row.number,
            # A trial that waits to be resumed counts as running: Optuna would hand it out.
            state=states[row.trial_id] if row.trial_id in told_ids else TrialState.RUNNING,
            distributions=tuple((name, each) for name, _, each in params[row.trial_id]),
            values=tuple(value for _, value, _ in params[row.trial_id]),
            value=values.get(row.trial_id),
            reports=reports.get(row.trial_id, {}),
            params_hash=row.params_hash,
        )
        for row in rows
    }
