"""How sure a figure is: where new data may score, and a test of two classifiers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muster.confusion import COUNTED, decisions, merit, score_counts

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
    *,
    rows: int | None = None,
) -> tuple[float, float]:
    """Where the metric of new rows from the same source lies, with 95 %: a bootstrap's interval.

    rows: how many new ones, as many as labels by default. Both are draws, what was scored and what
    will be, so it is the difference of two bootstrap draws that is spread around the metric
    reached (Efron & Tibshirani, 1993): narrower for many new rows, never narrower than what these
    rows leave open. Rows are drawn within each class; where there are groups, whole groups are
    drawn. One row is spread evenly over all labels and decisions, for else what never erred would
    never err.
    """
    chance = np.random.default_rng(SEED)
    share = 1.0 if rows is None else rows / len(labels)
    draw, reached = _sampler(metric, labels, scores, groups, chance)
    differences = draw(share) - draw(1.0)
    low, high = reached + np.quantile(differences, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    most = 1.0 if metric in COUNTED else np.inf
    return float(min(max(low, 0.0), reached)), float(max(min(high, most), reached))


def mcnemar(wins: int, losses: int) -> float:
    """The two-sided p-value of McNemar's test, exact: the binomial of the rows that differ."""
    from scipy.special import bdtr  # noqa: PLC0415 - as in metrics.py

    return float(min(1.0, 2 * bdtr(min(wins, losses), wins + losses, 0.5)))


def _sampler(
    metric: str,
    labels: NDArray[np.int64],
    scores: NDArray[Any],
    groups: NDArray[np.int64] | None,
    chance: np.random.Generator,
) -> tuple[Callable[[float], NDArray[np.float64]], float]:
    """What draws (draws,) metrics of that share of the rows, and the metric of the rows."""
    classes = scores.shape[1]
    if metric not in COUNTED:
        # The log loss is the one metric that decisions alone do not give.
        true = scores[np.arange(len(labels)), labels]
        losses = -np.log(np.clip(true, np.finfo(np.float64).eps, 1.0))
        parts = labels if groups is None else groups

        def draw_means(share: float) -> NDArray[np.float64]:
            return _draw_means(losses, parts, groups is not None, share, chance)

        return draw_means, float(losses.mean())
    decided = decisions(scores[None])[0]
    _, codes = np.unique(labels if groups is None else groups, return_inverse=True)
    cells = (codes * classes + labels) * classes + decided
    each = np.bincount(cells, minlength=(codes.max() + 1) * classes**2)
    tables = each.reshape(-1, classes, classes)

    def draw(share: float) -> NDArray[np.float64]:
        if groups is None:
            return score_counts(metric, _draw_counts(tables.sum(axis=0), share, chance))
        return score_counts(metric, _draw_groups(tables, share, chance))

    return draw, merit(metric, labels, scores)


def _draw_counts(
    counts: NDArray[np.int64], share: float, chance: np.random.Generator
) -> NDArray[np.int64]:
    """(draws, classes, classes) confusion matrices drawn class by class."""
    drawn = np.zeros((DRAWS, *counts.shape), dtype=np.int64)
    for label, row in enumerate(counts):
        if there := int(row.sum()):
            shares = row + 1 / len(row) ** 2
            size = max(1, round(share * there))
            drawn[:, label] = chance.multinomial(size, shares / shares.sum(), size=DRAWS)
    return drawn


def _draw_groups(
    tables: NDArray[np.int64], share: float, chance: np.random.Generator
) -> NDArray[np.int64]:
    """(draws, classes, classes) confusion matrices of groups drawn with replacement.

    tables: (groups, classes, classes), the matrix of each.
    """
    size = len(tables)
    times = chance.multinomial(max(1, round(share * size)), np.full(size, 1 / size), size=DRAWS)
    drawn: NDArray[np.int64] = np.tensordot(times, tables, axes=1)
    return drawn


def _draw_means(
    losses: NDArray[np.float64],
    parts: NDArray[np.int64],
    are_groups: bool,
    share: float,
    chance: np.random.Generator,
) -> NDArray[np.float64]:
    """(draws,) mean losses of rows drawn within each part, or of whole parts drawn."""
    _, codes = np.unique(parts, return_inverse=True)
    sums, sizes = np.bincount(codes, weights=losses), np.bincount(codes)
    if are_groups:
        size = len(sizes)
        drawn = max(1, round(share * size))
        times = chance.multinomial(drawn, np.full(size, 1 / size), size=DRAWS)
        means: NDArray[np.float64] = (times @ sums) / (times @ sizes)
        return means
    totals, rows = np.zeros(DRAWS), 0
    for code, there in enumerate(sizes):
        same = losses[codes == code]
        size = max(1, round(share * int(there)))
        rows += size
        step = max(1, CHUNK // size)
        for start in range(0, DRAWS, step):
            draws = totals[start : start + step]
            draws += same[chance.integers(int(there), size=(len(draws), size))].sum(axis=1)
    return np.asarray(totals / rows, dtype=np.float64)
