from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binomtest

from muster.confidence import interval, mcnemar
from muster.metrics import score


def predicted(seed: int, rows: int, share: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Labels of three classes, and decisions that are right with that probability."""
    rng = np.random.default_rng(seed)
    labels = np.arange(rows) % 3
    decided = np.where(rng.random(rows) < share, labels, (labels + 1) % 3)
    return labels, 0.8 * np.eye(3)[decided] + 0.2 / 3


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "log_loss"])
def test_the_interval_holds_the_true_score_19_times_in_20(metric: str) -> None:
    labels, scores = predicted(0, 60_000, 0.8)
    truth = score(metric, labels, scores)
    held = 0
    for seed in range(100):
        low, high = interval(metric, *predicted(seed + 1, 120, 0.8))
        held += low <= truth <= high
    assert 88 <= held <= 100


def test_an_interval_of_rows_that_were_never_wrong_is_not_empty() -> None:
    labels, scores = predicted(1, 60, 1.1)
    low, high = interval("macro_f1", labels, scores)
    assert 0.9 < low < 1.0
    assert high == 1.0


@pytest.mark.parametrize("metric", ["accuracy", "log_loss"])
def test_groups_that_err_as_a_whole_widen_the_interval(metric: str) -> None:
    rng = np.random.default_rng(2)
    labels = np.arange(300) % 3
    groups = np.arange(300) // 15
    is_wrong = np.isin(groups, rng.choice(20, 6, replace=False))
    scores = 0.8 * np.eye(3)[np.where(is_wrong, (labels + 1) % 3, labels)] + 0.2 / 3
    by_row, by_group = interval(metric, labels, scores), interval(metric, labels, scores, groups)
    assert by_group[1] - by_group[0] > 2 * (by_row[1] - by_row[0])
    assert by_group[0] < score(metric, labels, scores) < by_group[1]


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (3, 3), (8, 1), (0, 6), (40, 25)])
def test_mcnemar_is_the_exact_binomial_test(wins: int, losses: int) -> None:
    rows = wins + losses
    expected = 1.0 if rows == 0 else binomtest(wins, rows, 0.5).pvalue
    assert mcnemar(wins, losses) == pytest.approx(expected)
