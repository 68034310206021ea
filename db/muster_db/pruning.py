"""Pruners: whether a trial is worth going on with, from what others had at the same step.

A step is one epoch of one fold, or one fold mean, so like is compared with like: an epoch with
the same epoch of the same fold, a fold mean with the mean of as many folds. Optuna's number of a
step is fold * steps_per_fold + epoch; a fold's last one is the mean of the folds so far.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray
from optuna.trial import TrialState

from muster_db.history import History

Floats = NDArray[np.float64]

# With fewer to compare with, a median says little.
MINIMUM_OTHERS: Final = 5
# The part of a fold's epochs in which the median prunes nothing: early scores say little of late.
WARM_UP: Final = 1 / 3
# One in so many goes on from each rung, which lies as many times higher than the one below.
REDUCTION: Final = 3
# Rungs in the first fold, below its end: a ninth and a third of its epochs.
LOWER_RUNGS: Final = (9, 3)
LIKELY_CHANCE: Final = 0.1
GOLDEN: Final = (math.sqrt(5) - 1) / 2


class Report(Protocol):
    """One finished epoch of a trial, as muster.evaluation.EpochReport tells it."""

    @property
    def fold(self) -> int: ...
    @property
    def epoch(self) -> int: ...
    @property
    def score(self) -> float: ...
    @property
    def fold_ended(self) -> bool: ...
    @property
    def fold_scores(self) -> tuple[float, ...]: ...


@dataclass(frozen=True)
class Standing:
    """Where a trial stands: its newest report, and the finished trials to compare with.

    steps_per_fold: most epochs of a fold, and one for the mean.
    """

    number: int
    report: Report
    history: History
    steps_per_fold: int
    is_larger_better: bool

    @property
    def value(self) -> float:
        """The epoch's score, or at a fold's end the mean of the folds so far."""
        report = self.report
        return float(np.mean(report.fold_scores)) if report.fold_ended else report.score

    @property
    def step(self) -> int:
        """The step of value."""
        return self.mean_step(self.report.fold) if self.report.fold_ended else self._epoch_step()

    def mean_step(self, fold: int) -> int:
        """The step of a fold's end."""
        return (fold + 1) * self.steps_per_fold - 1

    def others(self, *, is_complete_only: bool) -> tuple[NDArray[np.int64], Floats]:
        """Numbers of the other trials that were told and got here, and what they had; no NaN."""
        numbers, values = self.history.reports_at(self.step)
        wanted = (numbers != self.number) & ~np.isnan(values)
        if is_complete_only:
            wanted &= self.history.states[numbers] == TrialState.COMPLETE
        return numbers[wanted], values[wanted]

    def loss(self, values: Floats | float) -> Floats:
        """Values so that less is better."""
        return np.asarray(values) * (-1 if self.is_larger_better else 1)

    def _epoch_step(self) -> int:
        return self.report.fold * self.steps_per_fold + self.report.epoch


Pruner = Callable[[Standing], bool]


def never(standing: Standing) -> bool:
    """Give up nothing."""
    return False


def median(standing: Standing) -> bool:
    """Give up what is worse than the median of the complete trials (Golovin et al., 2017)."""
    epochs = standing.steps_per_fold - 1
    if not standing.report.fold_ended and standing.report.epoch < epochs * WARM_UP:
        return False
    if math.isnan(standing.value):
        return True
    _, values = standing.others(is_complete_only=True)
    if len(values) < MINIMUM_OTHERS:
        return False
    return bool(standing.loss(standing.value) > np.median(standing.loss(values)))


def successive_halving(standing: Standing) -> bool:
    """Go on from a rung with the best third of those that reached it (ASHA; Li et al., 2020).

    Rungs lie at a ninth and a third of the first fold's epochs, then after 1, 3, 9 folds. All
    told trials that came so far count, the pruned ones too; nobody waits for the others.
    """
    rung = _rung(standing)
    return rung is not None and _falls_behind(standing, *standing.others(is_complete_only=False))


def hyperband(standing: Standing) -> bool:
    """Successive halving in brackets that begin at different rungs (Li et al., 2018).

    A trial's number says its bracket, and trials are compared within theirs: some are given up
    at a ninth of a fold, some go far before anything is decided, in case early scores mislead.
    """
    rung = _rung(standing)
    first = bracket(standing.number)
    if rung is None or rung < first:
        return False
    numbers, values = standing.others(is_complete_only=False)
    is_mine = np.array([bracket(int(number)) == first for number in numbers], dtype=bool)
    return _falls_behind(standing, numbers[is_mine], values[is_mine])


def wilcoxon(standing: Standing) -> bool:
    """Give up, after a fold, what is likely worse than the best trial on the same folds.

    A one-sided signed-rank test (Wilcoxon, 1945) on the differences fold by fold; at least four
    folds must have ended, since three can never be told from chance.
    """
    best = _best(standing)
    if not standing.report.fold_ended or best is None:
        return False
    if math.isnan(standing.value):
        return True
    behind = standing.loss(np.array(standing.report.fold_scores)) - standing.loss(best)
    if not np.any(behind) or behind.mean() <= 0:
        return False
    # scipy.stats takes half a second to import.
    from scipy.stats import wilcoxon as signed_rank  # noqa: PLC0415

    chance = signed_rank(behind, alternative="greater", zero_method="zsplit").pvalue
    return bool(chance < LIKELY_CHANCE)


PRUNERS: Final[dict[str, Pruner]] = {
    "median": median,
    "asha": successive_halving,
    "hyperband": hyperband,
    "wilcoxon": wilcoxon,
    "none": never,
}


def bracket(number: int) -> int:
    """The lowest rung that a trial of this number is judged at, 0 to 3.

    Brackets get as many trials as Hyperband gives them; multiples of the golden ratio spread them
    evenly over any run of numbers.
    """
    rungs = len(LOWER_RUNGS) + 1
    sizes = [
        (rungs + 1) / (rungs - first + 1) * REDUCTION ** (rungs - first)
        for first in range(rungs + 1)
    ]
    ends = np.cumsum(sizes) / np.sum(sizes)
    return min(int(np.searchsorted(ends, number * GOLDEN % 1, side="right")), rungs)


def _rung(standing: Standing) -> int | None:
    """The rung that a trial has just reached, from 0; None between two."""
    report, epochs = standing.report, standing.steps_per_fold - 1
    if report.fold_ended:
        power = math.log(report.fold + 1, REDUCTION)
        return len(LOWER_RUNGS) + round(power) if math.isclose(power, round(power)) else None
    heights = [math.ceil(epochs / divisor) for divisor in LOWER_RUNGS]
    if report.fold == 0 and report.epoch + 1 in heights:
        return heights.index(report.epoch + 1)
    return None


def _falls_behind(standing: Standing, numbers: NDArray[np.int64], values: Floats) -> bool:
    if math.isnan(standing.value):
        return True
    if len(values) + 1 < REDUCTION:
        return False
    places = max(1, (len(values) + 1) // REDUCTION)
    better = np.count_nonzero(standing.loss(values) < standing.loss(standing.value))
    return bool(better >= places)


def _best(standing: Standing) -> Floats | None:
    """The best complete trial's scores on the folds that this one has finished."""
    history, report = standing.history, standing.report
    losses = np.where(
        history.states == TrialState.COMPLETE, standing.loss(history.values), math.inf
    )
    if not np.isfinite(losses).any():
        return None
    best = int(np.argmin(losses))
    means = []
    for fold in range(len(report.fold_scores)):
        numbers, values = history.reports_at(standing.mean_step(fold))
        found = values[numbers == best]
        if not len(found):
            return None
        means.append(found[0])
    sums = np.array(means) * np.arange(1, len(means) + 1)
    return np.diff(sums, prepend=0.0)
