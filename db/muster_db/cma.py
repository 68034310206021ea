"""CMA-ES that keeps no state of its own: it is told anew what the history holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray
from optuna._transform import _SearchSpaceTransform
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from muster_db.history import History

if TYPE_CHECKING:
    from cmaes import CMA

Points = NDArray[np.float64]
# A sixth of each range, so that the first generation covers the space.
FIRST_SIGMA: Final = 1 / 6
# An adapted distribution needs two dimensions at least.
FEWEST_DIMENSIONS: Final = 2


class CmaSampler(BaseSampler):
    """CMA-ES (Hansen, 2016) with restarts of growing populations (Auger & Hansen, 2005).

    The complete trials, by number, are cut into generations and told to a new optimiser: what one
    worker would have in its memory, each has from the history. space: the parameters that every
    trial has; the numbers among them are searched together, all else by the other sampler.
    """

    def __init__(
        self,
        history: History,
        space: Mapping[str, BaseDistribution],
        *,
        seed: int,
        study_seed: int,
        is_larger_better: bool,
        otherwise: BaseSampler,
    ) -> None:
        self._history = history
        numbers = {
            name: distribution
            for name, distribution in space.items()
            if not isinstance(distribution, CategoricalDistribution) and not distribution.single()
        }
        self._space = numbers if len(numbers) >= FEWEST_DIMENSIONS else {}
        self._seed = seed
        self._study_seed = study_seed
        self._is_larger_better = is_larger_better
        self._otherwise = otherwise

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """The numbers that every trial has."""
        return self._space

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """A draw of the distribution that the told generations have led to."""
        if not self._space:
            return {}
        transform = _SearchSpaceTransform(self._space, transform_0_1=True)
        complete = np.flatnonzero(self._history.states == TrialState.COMPLETE)
        points = self._points(transform)[complete]
        losses = self._history.values[complete] * (-1 if self._is_larger_better else 1)
        optimiser = evolve(points, losses, seed=self._study_seed)
        optimiser.reseed_rng(self._seed)
        return transform.untransform(optimiser.ask())

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """What the other sampler draws."""
        return self._otherwise.sample_independent(study, trial, param_name, param_distribution)

    def _points(self, transform: _SearchSpaceTransform) -> Points:
        """(trials, dimensions) in the unit cube."""
        columns = []
        for (name, distribution), (low, high) in zip(
            self._space.items(), transform._raw_bounds, strict=True
        ):
            column = self._history.column(name)
            scaled = np.log(column) if distribution.log else column  # type: ignore[attr-defined]
            columns.append((scaled - low) / (high - low))
        return np.stack(columns, axis=1)


def evolve(points: Points, losses: Points, *, seed: int) -> CMA:
    """The optimiser after all whole generations. points: (trials, dimensions) in [0, 1].

    Where a population has converged, one of twice its size starts at another place.
    """
    dimensions = points.shape[1]
    optimiser = _start(np.full(dimensions, 0.5), population=None)
    rng = np.random.default_rng(seed)
    told = 0
    while told + optimiser.population_size <= len(points):
        generation = slice(told, told + optimiser.population_size)
        told += optimiser.population_size
        nearby = _draw_in(optimiser, points[generation])
        optimiser.tell(list(zip(nearby, losses[generation], strict=True)))
        if optimiser.should_stop():
            place = rng.uniform(size=(dimensions,))
            optimiser = _start(place, population=2 * optimiser.population_size)
    return optimiser


def _draw_in(optimiser: CMA, points: Points) -> Points:
    """Points that the present distribution would hardly draw, moved towards its mean.

    Parallel workers draw some of a generation from an older distribution, and some were given;
    unmoved they would blow the step size up (Hansen, 2011, on injecting external solutions).
    """
    dimensions = points.shape[1]
    axes, lengths = optimiser._eigen_decomposition()
    steps = (points - optimiser.mean) / optimiser._sigma
    norms = np.linalg.norm(steps @ axes / lengths, axis=1)
    longest = np.sqrt(dimensions) + 2 * dimensions / (dimensions + 2)
    shrunk = np.minimum(1.0, longest / np.maximum(norms, longest))
    moved: Points = optimiser.mean + optimiser._sigma * steps * shrunk[:, None]
    return moved


def _start(mean: Points, *, population: int | None) -> CMA:
    # It takes most of a second to import.
    from cmaes import CMA  # noqa: PLC0415

    bounds = np.tile([0.0, 1.0], (len(mean), 1))
    return CMA(mean=mean, sigma=FIRST_SIGMA, bounds=bounds, population_size=population)
