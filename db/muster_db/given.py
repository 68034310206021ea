"""A sampler of one configuration that is known already."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial


class IndependentSampler(BaseSampler):
    """A sampler that draws each parameter for itself, when the space asks for it."""

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Nothing is drawn together."""
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Nothing is drawn together."""
        return {}


class GivenSampler(IndependentSampler):
    """Answers with the values it holds, and draws what else is asked for at random."""

    def __init__(self, params: Mapping[str, Any], *, seed: int) -> None:
        self._params = params
        self._random = RandomSampler(seed=seed)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """The value of that name."""
        if param_name in self._params:
            return self._params[param_name]
        return self._random.sample_independent(study, trial, param_name, param_distribution)
