"""A quasi-random sequence that all workers share without telling each other."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna._transform import _SearchSpaceTransform
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial

from muster_db.given import IndependentSampler


class SobolSampler(IndependentSampler):
    """The point at a position of a Sobol sequence (Sobol', 1967), scrambled (Owen, 1998).

    coordinates: every parameter of the space, each with a dimension of its own, so that a
    conditional one leaves the others' sequence as it is. The seed decides the scrambling.
    """

    def __init__(self, *, position: int, seed: int, coordinates: Sequence[str]) -> None:
        self._position = position
        self._seed = seed
        self._coordinates = coordinates

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """The parameter's coordinate of the point, stretched to its range."""
        part = float(self._point[self._coordinates.index(param_name)])
        if isinstance(param_distribution, CategoricalDistribution):
            return param_distribution.choices[int(part * len(param_distribution.choices))]
        space = {param_name: param_distribution}
        transform = _SearchSpaceTransform(space, transform_0_1=True)
        return transform.untransform(np.array([part]))[param_name]

    @cached_property
    def _point(self) -> NDArray[np.float64]:
        # scipy.stats takes half a second to import.
        from scipy.stats.qmc import Sobol  # noqa: PLC0415

        engine = Sobol(len(self._coordinates), rng=np.random.default_rng(self._seed))
        if self._position:
            engine.fast_forward(self._position)
        point: NDArray[np.float64] = engine.random(1)[0]
        return point
