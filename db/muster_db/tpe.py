"""Optuna's TPE, reading a history's columns: the same proposals, in time for 10,000 trials."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.samplers import TPESampler
from optuna.search_space.group_decomposed import _SearchSpaceGroup
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from muster_db.density import ParzenEstimator
from muster_db.history import History

Rows = NDArray[np.int64]


class ColumnTPE(TPESampler):
    """TPESampler(multivariate=True, group=True, constant_liar=True) on a history.

    Where Optuna walks over the trials' objects for each group of parameters, this takes columns;
    the estimators, the random numbers and so the proposals are Optuna's own.
    """

    def __init__(self, seed: int, history: History) -> None:
        super().__init__(seed=seed, multivariate=True, constant_liar=True)
        # As an argument it warns, and warnings cannot be caught in one thread alone.
        self._group = True
        self._history = history
        self._split: tuple[Rows, Rows] | None = None

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        group = _SearchSpaceGroup()
        for distributions in self._history.distributions():
            group.add_distributions(distributions)
        self._search_space_group = group
        return {
            name: distribution
            for space in group.search_spaces
            for name, distribution in sorted(space.items())
            if not distribution.single()
        }

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        if self._is_early():
            return self._random_sampler.sample_independent(
                study, trial, param_name, param_distribution
            )
        return self._sample(study, trial, {param_name: param_distribution})[param_name]

    def _sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        if not search_space or self._is_early():
            return {}
        return self._sample(study, trial, search_space)

    def _is_early(self) -> bool:
        return len(_finished(self._history)) < self._n_startup_trials

    def _sample(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        if self._split is None:
            self._split = split(self._history, direction=study.direction)
        below, above = (self._estimate(rows, search_space) for rows in self._split)
        samples = below.sample(self._rng.rng, self._n_ei_candidates)
        best = self._compare(samples, self._compute_acquisition_func(samples, below, above))
        return {
            name: distribution.to_external_repr(best[name])
            for name, distribution in search_space.items()
        }

    def _estimate(self, rows: Rows, search_space: dict[str, BaseDistribution]) -> ParzenEstimator:
        columns = [self._history.column(name)[rows] for name in search_space]
        has_all = ~np.isnan(columns).any(axis=0)
        observations = {
            name: column[has_all] for name, column in zip(search_space, columns, strict=True)
        }
        return ParzenEstimator(observations, search_space, self._parzen_estimator_parameters)


def split(history: History, *, direction: StudyDirection) -> tuple[Rows, Rows]:
    """The trials to be like and those to be unlike, as Optuna parts them, each by number.

    Running trials count as ones to be unlike: liars that spread parallel workers out.
    """
    is_larger_better = direction == StudyDirection.MAXIMIZE
    finished = _finished(history)
    wanted = min(math.ceil(0.1 * len(finished)), 25)
    complete = finished[history.states[finished] == TrialState.COMPLETE]
    values = history.values[complete]
    complete = complete[np.argsort(-values if is_larger_better else values, kind="stable")]
    pruned = finished[history.states[finished] == TrialState.PRUNED]
    if len(complete) < wanted and len(pruned):
        pruned = _by_promise(history, pruned, is_larger_better=is_larger_better)
    below = np.sort(np.concatenate([complete, pruned])[:wanted])
    is_above = history.states != TrialState.FAIL
    is_above[below] = False
    return below, np.flatnonzero(is_above)


def _by_promise(history: History, rows: Rows, *, is_larger_better: bool) -> Rows:
    """Pruned trials, who came furthest first, then by their last report."""
    steps, reports = (each[rows] for each in history.last_reports)
    scores = np.where(np.isnan(reports), math.inf, -reports if is_larger_better else reports)
    has_none = steps < 0
    order = np.lexsort((np.where(has_none, 0.0, scores), np.where(has_none, 1, -steps)))
    promising: Rows = rows[order]
    return promising


def _finished(history: History) -> Rows:
    states: Sequence[int] = (TrialState.COMPLETE, TrialState.PRUNED)
    return np.flatnonzero(np.isin(history.states, states))
