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
@pytest.mark.parametrize("rows", [60, 240])
def test_new_rows_score_within_the_interval_19_times_in_20(metric: str, rows: int) -> None:
    held = 0
    for seed in range(100):
        low, high = interval(metric, *predicted(seed, 120, 0.8), rows=rows)
        held += low <= score(metric, *predicted(1000 + seed, rows, 0.8)) <= high
    assert 88 <= held <= 100


def test_more_new_rows_are_told_more_closely_but_never_closer_than_what_is_known() -> None:
    widths = []
    for rows in (60, 120, 1_200, 120_000):
        low, high = interval("macro_f1", *predicted(0, 120, 0.8), rows=rows)
        widths.append(high - low)
    assert widths[0] > widths[1] > widths[2]
    assert widths[1] == pytest.approx(2**0.5 * widths[3], rel=0.1)
    assert widths[2] == pytest.approx(widths[3], rel=0.1)


@pytest.mark.parametrize("metric", ["accuracy", "log_loss"])
def test_new_groups_score_within_the_interval_of_groups(metric: str) -> None:
    def grouped(seed: int, count: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        rng = np.random.default_rng(seed)
        labels = np.arange(count * 12) % 3
        share = np.repeat(rng.uniform(0.5, 1.0, count), 12)
        decided = np.where(rng.random(count * 12) < share, labels, (labels + 1) % 3)
        return labels, 0.8 * np.eye(3)[decided] + 0.2 / 3

    held = 0
    for seed in range(100):
        groups = np.repeat(np.arange(20), 12)
        low, high = interval(metric, *grouped(seed, 20), groups, rows=120)
        held += low <= score(metric, *grouped(1000 + seed, 10)) <= high
    assert 86 <= held <= 100


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
