"""Samplers of configurations, by name; each is made anew for every draw.

What a sampler proposes follows from the draw and the history alone, so that a worker that joins
late, or the same worker started again, proposes what any other would in its place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from optuna.samplers import BaseSampler, GPSampler, RandomSampler

from muster_db.cma import CmaSampler
from muster_db.given import GivenSampler
from muster_db.history import History
from muster_db.sobol import SobolSampler
from muster_db.tpe import ColumnTPE
from muster_db.walk import Walk

# A Gaussian process costs the cube of the trials it is fitted to: seconds a draw from here on.
GP_TRIALS: Final = 400


@dataclass(frozen=True)
class Draw:
    """What one draw follows from, beside the study's seed.

    number: the trial's. ordinal: the worker's. redraw: grows while what comes is known already.
    first: how many trials before were given, not drawn.
    """

    study_seed: int
    number: int
    ordinal: int
    redraw: int
    walk: Walk
    history: History
    first: int = 0
    is_larger_better: bool = True

    @property
    def seed(self) -> int:
        """Differs between trials, workers and redraws."""
        return self._seed(self.number, self.ordinal, self.redraw)

    @property
    def shared_seed(self) -> int:
        """The same for all trials and workers."""
        return self._seed(self.redraw)

    def _seed(self, *parts: int) -> int:
        return int(np.random.SeedSequence([self.study_seed, *parts]).generate_state(1)[0])


def tpe(draw: Draw) -> BaseSampler:
    """Multivariate TPE over groups of parameters that occur together (Falkner et al., 2018).

    Running trials count as liars, so that parallel workers spread out.
    """
    return ColumnTPE(draw.seed, draw.history)


def random(draw: Draw) -> BaseSampler:
    """Independent draws."""
    return RandomSampler(seed=draw.seed)


def quasi_random(draw: Draw) -> BaseSampler:
    """A scrambled Sobol sequence: the trial's number is the place in it, for all workers."""
    if draw.number < draw.first:
        # What a given configuration leaves out must not use the sequence's points up.
        return random(draw)
    return SobolSampler(
        position=draw.number - draw.first,
        seed=draw.shared_seed,
        coordinates=tuple(draw.walk.parameters),
    )


def cmaes(draw: Draw) -> BaseSampler:
    """CMA-ES with restarts over the numbers that every configuration has, TPE over the rest."""
    return CmaSampler(
        draw.history,
        draw.walk.unconditional,
        seed=draw.seed,
        study_seed=draw.study_seed,
        is_larger_better=draw.is_larger_better,
        otherwise=tpe(draw),
    )


def gaussian_process(draw: Draw) -> BaseSampler:
    """A Gaussian process and expected improvement, running trials taken into account.

    Conditional parameters are drawn by TPE, and beyond GP_TRIALS all are.
    """
    if len(draw.history) > GP_TRIALS:
        return tpe(draw)
    return GPSampler(
        seed=draw.seed, independent_sampler=tpe(draw), warn_independent_sampling=False
    )


def grid(draw: Draw) -> BaseSampler:
    """Every combination of a finite space once, in one order; then at random."""
    untried = draw.walk.first_untried(draw.history.is_known)
    return random(draw) if untried is None else GivenSampler(untried.params, seed=draw.seed)


SAMPLERS: Final[dict[str, Callable[[Draw], BaseSampler]]] = {
    "tpe": tpe,
    "random": random,
    "qmc": quasi_random,
    "cmaes": cmaes,
    "gp": gaussian_process,
    "grid": grid,
}
# Those whose draws depend on how other trials ended.
ADAPTIVE: Final = frozenset({"tpe", "cmaes", "gp"})
# Of these, how many trials are drawn as they begin, though they were claimed before: up to there
# a draw takes milliseconds, and among so many the trial that ended last counts for little.
LATE: Final = {"tpe": 5_000, "cmaes": 1_000}


def is_drawn_late(sampler: str, number: int) -> bool:
    """Whether the trial of that number is drawn as it begins; so it follows from the seed."""
    return number < LATE.get(sampler, 0)
