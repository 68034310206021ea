"""Samplers of configurations, by name; each is made anew for a proposal from its seed alone."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Final

from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, BruteForceSampler, RandomSampler, TPESampler


def tpe(seed: int) -> BaseSampler:
    """Multivariate TPE over groups of parameters that occur together (Falkner et al., 2018).

    Running trials count as liars, so that parallel workers spread out.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True)


def random(seed: int) -> BaseSampler:
    """Independent draws."""
    return RandomSampler(seed=seed)


def exhaustive(seed: int) -> BaseSampler:
    """What has not been tried, where the space is finite: the last resort against repeats."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return BruteForceSampler(seed=seed)


SAMPLERS: Final[dict[str, Callable[[int], BaseSampler]]] = {"tpe": tpe, "random": random}
