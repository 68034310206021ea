"""A worker's local copy of a study: samplers and pruners read it instead of the database."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from threading import Lock
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, Trial, TrialState

from muster_db import digest
from muster_db.database import Database
from muster_db.history import End, History, Row
from muster_db.local import NAME, STUDY_ID, LocalStorage
from muster_db.news import Change, read_news
from muster_db.pruning import PRUNERS, Report, Standing
from muster_db.records import Proposal
from muster_db.samplers import SAMPLERS, Draw, grid, is_drawn_late, random
from muster_db.study import Study
from muster_db.walk import Walk

# Draws by the study's sampler, then at random, before the space is searched for what is left.
SAMPLER_DRAWS = 8
RANDOM_DRAWS = 32
RUNNING = digest.Outcome(TrialState.RUNNING, None, {})


class Mirror:
    """All trials of a study as of the last refresh, which reads only what changed since.

    Threads may share it: nobody waits for the network but who refreshes.
    """

    def __init__(self, engine: Database, study: Study) -> None:
        self._engine = engine
        self._study = study
        self._history = History()
        self._ended: dict[int, End] = {}
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
            news = read_news(
                self._engine,
                self._study,
                revision=self._revision,
                known=list(self._distributions),
            )
            self._distributions |= {
                name: (name, each) for name, each in news.distributions.items()
            }
            changed = [self._row(change) for change in news.changes]
            with self._lock:
                for row in changed:
                    self._history.put(row)
                    if row.state.is_finished():
                        self._ended.pop(row.number, None)
                self._revision = news.revision

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

    def end(self, number: int, end: End | None) -> None:
        """Let draws know how a trial ended here, until the database says so; None: it did not."""
        with self._lock:
            if end is None:
                self._ended.pop(number, None)
            else:
                self._ended[number] = end

    def propose(self, suggest: Callable[[Any], Any], *, worker_ordinal: int) -> Proposal:
        """Draw the next configuration from fresh news; suggest asks a trial for its parameters.

        The first trials have the contract's first configurations. A draw follows from the study's
        seed, the trial's number, the worker's ordinal and the trials known. No configuration comes
        twice while another is found. Raises Unavailable.
        """
        self.refresh()
        history = self._look()
        return self._draw(suggest, history, number=len(history), worker_ordinal=worker_ordinal)

    def redraw(
        self,
        suggest: Callable[[Any], Any],
        *,
        worker_ordinal: int,
        number: int,
        params: Mapping[str, Any],
    ) -> Proposal | None:
        """Draw again for a trial that has these parameters and has not begun, without a refresh.

        None where nothing better comes than what it has.
        """
        history = self._look()
        # Its own old configuration is not what to keep away from.
        history.pass_over([each for each in (number,) if each < len(history)])
        own = Proposal(dict(params), {}).hash
        proposal = self._draw(
            suggest, history, number=number, worker_ordinal=worker_ordinal, own=own
        )
        if proposal.is_repeat or proposal.hash == own:
            return None
        return replace(proposal, replaces=tuple(params))

    def _look(self) -> History:
        """What draws may know by now; a draw may take a second, and nobody must wait for it."""
        with self._lock:
            history = self._history.snapshot()
            ended = dict(self._ended)
        # They will be drawn from later news than these, when they begin.
        sampler = self._study.contract.sampler
        history.pass_over([each for each in history.ahead if is_drawn_late(sampler, int(each))])
        for number, end in ended.items():
            if number < len(history):
                history.finish(number, end)
        return history

    def _draw(
        self,
        suggest: Callable[[Any], Any],
        history: History,
        *,
        number: int,
        worker_ordinal: int,
        own: str = "",
    ) -> Proposal:
        """own: the hash of the configuration that may come again."""
        contract = self._study.contract
        makers = [SAMPLERS[contract.sampler]] * SAMPLER_DRAWS
        makers += [random] * RANDOM_DRAWS + [grid]
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
                if proposal.hash == own or not history.is_known(proposal.hash):
                    return proposal
        if proposal is None:
            raise RuntimeError("no sampler was asked")
        return replace(proposal, is_repeat=True)

    def _row(self, change: Change) -> Row:
        # A trial that waits to be resumed counts as running: Optuna would hand it out.
        outcome = RUNNING if change.outcome is None else digest.read_outcome(change.outcome)
        return Row(
            number=change.number,
            state=outcome.state,
            distributions=tuple(self._distributions[name] for name, _ in change.params),
            values=tuple(value for _, value in change.params),
            value=outcome.value,
            reports=outcome.reports,
            params_hash=change.params_hash,
            is_ahead=change.is_ahead,
        )


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
