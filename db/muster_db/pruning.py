"""Pruners: pure functions of what finished trials had at the same step.

A step is one epoch of one fold, or one fold mean, so like is compared with like: an epoch with
the same epoch of the same fold, a fold mean with the mean of as many folds.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Final, Literal, Protocol

Direction = Literal["maximize", "minimize"]
# With fewer to compare with, a median says little.
MINIMUM_OTHERS = 5


class Pruner(Protocol):
    """others: values of finished trials at this step; value: this trial's. True: give it up."""

    def __call__(self, others: Sequence[float], value: float, *, direction: Direction) -> bool: ...


def median(others: Sequence[float], value: float, *, direction: Direction) -> bool:
    """Give up what is worse than the median of the others (Golovin et al., 2017), or NaN."""
    if math.isnan(value):
        return True
    known = [other for other in others if not math.isnan(other)]
    if len(known) < MINIMUM_OTHERS:
        return False
    middle = statistics.median(known)
    return value < middle if direction == "maximize" else value > middle


def never(others: Sequence[float], value: float, *, direction: Direction) -> bool:
    """Give up nothing."""
    return False


PRUNERS: Final[dict[str, Pruner]] = {"median": median, "none": never}
