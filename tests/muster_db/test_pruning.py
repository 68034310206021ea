from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pytest
from optuna.trial import TrialState

from muster_db.history import History, Row
from muster_db.pruning import PRUNERS, Standing, bracket

# Nine epochs a fold and the fold mean: steps 0 to 8 and 9, 10 to 18 and 19, and so on.
STEPS = 10


@dataclass(frozen=True)
class Epoch:
    fold: int
    epoch: int
    score: float
    fold_ended: bool = False
    fold_scores: tuple[float, ...] = ()


def history(
    *reports: Mapping[int, float], pruned: frozenset[int] = frozenset(), missing: int = 0
) -> History:
    """Trials by number with these reports, told their last one; missing: running ones before."""
    made = History()
    running = [(TrialState.RUNNING, {}) for _ in range(missing)]
    told = [
        (TrialState.PRUNED if number in pruned else TrialState.COMPLETE, each)
        for number, each in enumerate(reports, start=missing)
    ]
    for number, (state, each) in enumerate(running + told):
        value = each[max(each)] if state == TrialState.COMPLETE else None
        digest = hashlib.sha256(str(number).encode()).hexdigest()
        made.put(Row(number, state, (), (), value, each, digest))
    return made


def is_given_up(
    pruner: str,
    others: History,
    report: Epoch,
    *,
    number: int = 10_000,
    is_larger_better: bool = True,
) -> bool:
    return PRUNERS[pruner](Standing(number, report, others, STEPS, is_larger_better))


def fold_means(*scores: float) -> dict[int, float]:
    """Reports of the folds' ends of a trial with these scores."""
    return {
        fold * STEPS + STEPS - 1: float(np.mean(scores[: fold + 1])) for fold in range(len(scores))
    }


def fold_end(*scores: float) -> Epoch:
    return Epoch(len(scores) - 1, 8, scores[-1], fold_ended=True, fold_scores=scores)


ROW = history(*({4: value} for value in (0.1, 0.2, 0.3, 0.4, 0.5)))


@pytest.mark.parametrize(
    ("score", "is_larger_better", "expected"),
    [(0.29, True, True), (0.3, True, False), (0.31, False, True), (0.3, False, False)],
)
def test_median_gives_up_what_is_worse_than_the_others_at_the_same_step(
    score: float, is_larger_better: bool, expected: bool
) -> None:
    report = Epoch(0, 4, score)
    assert is_given_up("median", ROW, report, is_larger_better=is_larger_better) == expected


def test_median_waits_for_five_complete_trials_and_a_third_of_the_epochs() -> None:
    reports = [{2: 0.5, 3: 0.5, 13: 0.9} for _ in range(5)]
    assert is_given_up("median", history(*reports), Epoch(0, 3, 0.0))
    assert not is_given_up("median", history(*reports), Epoch(0, 2, 0.0))
    assert not is_given_up("median", history(*reports[1:]), Epoch(0, 3, 0.0))
    assert not is_given_up("median", history(*reports, pruned=frozenset({1})), Epoch(0, 3, 0.0))
    # Its own reports of an earlier attempt are not another's.
    assert not is_given_up("median", history(*reports), Epoch(0, 3, 0.0), number=2)


def test_an_epoch_is_compared_with_the_same_epoch_of_the_same_fold() -> None:
    others = history(*({4: 0.1, 9: 0.2, 14: 0.3, 19: 0.4} for _ in range(5)))
    for report in (Epoch(0, 4, 0.15), fold_end(0.25), Epoch(1, 4, 0.35), fold_end(0.4, 0.5)):
        assert not is_given_up("median", others, report)
    for report in (Epoch(0, 4, 0.05), fold_end(0.15), Epoch(1, 4, 0.25), fold_end(0.3, 0.4)):
        assert is_given_up("median", others, report)


@pytest.mark.parametrize(
    "report",
    [Epoch(0, 0, 0.45), Epoch(0, 2, 0.45), fold_end(0.45), fold_end(0.45, 0.45, 0.45)],
    ids=["ninth", "third", "fold", "three-folds"],
)
def test_asha_goes_on_from_each_rung_with_the_best_third(report: Epoch) -> None:
    step = Standing(0, report, ROW, STEPS, True).step
    better, worse = {step: 0.5}, {step: 0.1}
    assert not is_given_up("asha", history(better, worse, worse, worse, worse), report)
    assert is_given_up("asha", history(better, better, worse, worse, worse), report)
    # Who was given up on this rung counts as well.
    told = history(better, worse, worse, worse, worse, pruned=frozenset({1, 2, 3, 4}))
    assert not is_given_up("asha", told, report)
    assert is_given_up("asha", history(better, worse, worse), report)


def test_asha_decides_nothing_between_rungs_nor_alone() -> None:
    best = {step: 1.0 for step in range(4 * STEPS)}
    others = history(best, best, best)
    for report in (Epoch(0, 1, 0.0), Epoch(0, 7, 0.0), Epoch(1, 2, 0.0), fold_end(0.0, 0.0)):
        assert not is_given_up("asha", others, report)
    assert not is_given_up("asha", history(best), Epoch(0, 0, 0.0))
    assert is_given_up("asha", history(best, best), Epoch(0, 0, 0.0))


def test_hyperbands_brackets_get_their_share_and_begin_at_their_rung() -> None:
    counts = Counter(bracket(number) for number in range(1000))
    # Of 49 trials 27 may be given up from the first rung on, then 12, 6 and 4.
    shares = [counts[first] / 1000 for first in range(4)]
    assert shares == pytest.approx([27 / 49, 12 / 49, 6 / 49, 4 / 49], abs=0.005)
    best = {step: 1.0 for step in range(4 * STEPS)}
    others = history(*(best for _ in range(200)))
    reports = [Epoch(0, 0, 0.0), Epoch(0, 2, 0.0), fold_end(0.0), fold_end(0.0, 0.0, 0.0)]
    for first in range(4):
        number = next(each for each in range(1000, 2000) if bracket(each) == first)
        found = [is_given_up("hyperband", others, report, number=number) for report in reports]
        assert found == [rung >= first for rung in range(4)]


def test_hyperband_compares_within_a_bracket() -> None:
    mine = bracket(10_000)
    report = fold_end(0.5)
    scores = [{9: 0.9 if bracket(number) != mine else 0.1} for number in range(60)]
    assert not is_given_up("hyperband", history(*scores), report)
    scores = [{9: 0.1 if bracket(number) != mine else 0.9} for number in range(60)]
    assert is_given_up("hyperband", history(*scores), report) == (mine <= 2)


def test_wilcoxon_gives_up_what_is_worse_than_the_best_on_most_folds() -> None:
    others = history(fold_means(0.6, 0.7, 0.8, 0.9, 0.7), fold_means(0.1, 0.1, 0.1, 0.1, 0.1))
    assert is_given_up("wilcoxon", others, fold_end(0.5, 0.55, 0.7, 0.85))
    assert not is_given_up("wilcoxon", others, fold_end(0.5, 0.55, 0.7))
    assert not is_given_up("wilcoxon", others, fold_end(0.5, 0.8, 0.75, 0.88))
    assert not is_given_up("wilcoxon", others, fold_end(0.6, 0.7, 0.8, 0.9))
    assert not is_given_up("wilcoxon", others, Epoch(3, 2, 0.0))
    assert not is_given_up("wilcoxon", history(), fold_end(0.0, 0.0, 0.0, 0.0))
    small = history(fold_means(0.1, 0.1, 0.1, 0.1), fold_means(0.9, 0.9, 0.9, 0.9))
    report = fold_end(0.5, 0.55, 0.6, 0.65)
    assert is_given_up("wilcoxon", small, report, is_larger_better=False)


@pytest.mark.parametrize("pruner", list(PRUNERS))
def test_an_empty_study_gives_nothing_up_and_nan_is_worse_than_anything(pruner: str) -> None:
    for report in (Epoch(0, 0, 0.1), Epoch(0, 4, 0.1), fold_end(0.1), fold_end(0.1, 0.2)):
        assert not is_given_up(pruner, history(missing=3), report)
    full = history(*(fold_means(0.5, 0.5, 0.5, 0.5) for _ in range(20)))
    lost = fold_end(float("nan"))
    number = next(each for each in range(100, 200) if bracket(each) == 0)
    assert is_given_up(pruner, full, lost, number=number) == (pruner != "none")
