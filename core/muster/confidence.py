"""How sure a figure is: bootstrap intervals, and a test of two classifiers on the same rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from muster.confusion import COUNTED, count, decisions, merit, score_counts

DRAWS = 2000
LEVEL = 0.95
SEED = 0
# Rows drawn that lie in memory at once.
CHUNK = 2**22


def interval(
    metric: str,
    labels: NDArray[np.int64],
    scores: NDArray[Any],
    groups: NDArray[np.int64] | None = None,
) -> tuple[float, float]:
    """The bootstrap's 95 % interval of the metric (Efron & Tibshirani, 1993).

    Rows are drawn within each class; where there are groups, whole groups are drawn. One row is
    spread evenly over all labels and decisions, for else what never erred would never err.
    """
    chance = np.random.default_rng(SEED)
    classes = scores.shape[1]
    if metric in COUNTED:
        decided = decisions(scores[None])[0]
        drawn = (
            _draw_counts(count(decided[None], labels, classes=classes)[0], chance)
            if groups is None
            else _draw_groups(decided, labels, groups, classes, chance)
        )
        found = score_counts(metric, drawn)
        reached = merit(metric, labels, scores)
    else:
        # The log loss is the one metric that decisions alone do not give.
        true = scores[np.arange(len(labels)), labels]
        losses = -np.log(np.clip(true, np.finfo(np.float64).eps, 1.0))
        found = _draw_means(losses, labels if groups is None else groups, groups is not None)
        reached = float(losses.mean())
    low, high = np.quantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(min(low, reached)), float(max(high, reached))


def mcnemar(wins: int, losses: int) -> float:
    """The two-sided p-value of McNemar's test, exact: the binomial of the rows that differ."""
    from scipy.special import bdtr  # noqa: PLC0415 - as in metrics.py

    return float(min(1.0, 2 * bdtr(min(wins, losses), wins + losses, 0.5)))


def _draw_counts(counts: NDArray[np.int64], chance: np.random.Generator) -> NDArray[np.int64]:
    """(draws, classes, classes) confusion matrices drawn class by class."""
    drawn = np.zeros((DRAWS, *counts.shape), dtype=np.int64)
    for label, row in enumerate(counts):
        if size := int(row.sum()):
            shares = row + 1 / len(row) ** 2
            drawn[:, label] = chance.multinomial(size, shares / shares.sum(), size=DRAWS)
    return drawn


def _draw_groups(
    decided: NDArray[np.int16],
    labels: NDArray[np.int64],
    groups: NDArray[np.int64],
    classes: int,
    chance: np.random.Generator,
) -> NDArray[np.int64]:
    """(draws, classes, classes) confusion matrices of groups drawn with replacement."""
    _, codes = np.unique(groups, return_inverse=True)
    size = int(codes.max()) + 1
    cells = (codes * classes + labels) * classes + decided
    each = np.bincount(cells, minlength=size * classes**2).reshape(size, -1)
    times = chance.multinomial(size, np.full(size, 1 / size), size=DRAWS)
    drawn: NDArray[np.int64] = (times @ each).reshape(DRAWS, classes, classes)
    return drawn


def _draw_means(
    losses: NDArray[np.float64], labels: NDArray[np.int64], are_groups: bool
) -> NDArray[np.float64]:
    """(draws,) mean losses of rows drawn within each class, or of whole groups drawn."""
    chance = np.random.default_rng(SEED)
    _, codes = np.unique(labels, return_inverse=True)
    sums, sizes = np.bincount(codes, weights=losses), np.bincount(codes)
    if are_groups:
        size = len(sizes)
        times = chance.multinomial(size, np.full(size, 1 / size), size=DRAWS)
        means: NDArray[np.float64] = (times @ sums) / (times @ sizes)
        return means
    totals = np.zeros(DRAWS)
    for code, size in enumerate(sizes):
        same = losses[codes == code]
        step = max(1, CHUNK // int(size))
        for start in range(0, DRAWS, step):
            draws = totals[start : start + step]
            draws += same[chance.integers(size, size=(len(draws), size))].sum(axis=1)
    drawn: NDArray[np.float64] = totals / len(losses)
    return drawn
