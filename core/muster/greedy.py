"""Greedy ensemble selection with replacement, bagged (Caruana et al., 2004)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muster.confusion import COUNTED, Labels, count, decisions, first_largest, merit, score_counts
from muster.diversity import Limits

DRAWS = 25
BAGS = 5
# The share of the entries that a bag draws from.
SHARE = 0.5
SEED = 0
# Numbers of a step that lie in memory at once.
CHUNK = 2**19


def select(
    probabilities: NDArray[Any],
    labels: Labels,
    *,
    metric: str,
    limits: Limits,
    architectures: Sequence[str],
) -> NDArray[np.float64]:
    """(entries,) weights whose sum is 1, of a mean of probabilities that scores high.

    probabilities: (entries, rows, classes), the best entry first. Each of DRAWS steps adds, with
    replacement, the entry with which the sum scores best, by the smaller Brier score among
    equals; the step that scored best ends the list. BAGS lists, each over a random half of the
    entries, are averaged, which overfits less than one. The metric never falls below the best
    entry's: where the bags' mean would, the list over all entries is taken.
    """
    table = _Table.of(probabilities, labels, metric)
    correct = decisions(probabilities) == labels
    everybody = np.arange(len(probabilities))
    whole = _draw(table, everybody, limits, architectures, correct)
    chance = np.random.default_rng(SEED)
    size = max(1, round(SHARE * len(everybody)))
    total = np.zeros(len(everybody))
    for _ in range(BAGS):
        bag = np.sort(chance.choice(everybody, size=size, replace=False))
        total += _draw(table, bag, limits, architectures, correct)
    mean = _within(total / total.sum(), limits, architectures, correct)
    options = [(table.merit(mean), mean), (table.merit(whole), whole)]
    floor = table.merit(np.eye(len(everybody))[0])
    return next((weights for score, weights in options if score >= floor), whole)


class _Table:
    """Probabilities as (entries, classes, rows) in single precision, and sums over them."""

    def __init__(self, values: NDArray[np.float32], labels: Labels, metric: str) -> None:
        self.values = values
        self.labels = labels
        self.metric = metric
        self._flat = values.reshape(len(values), -1)
        self._products = np.zeros((len(values), len(values)))
        for start in range(0, self._flat.shape[1], CHUNK // len(values) + 1):
            part = self._flat[:, start : start + CHUNK // len(values) + 1].astype(np.float64)
            self._products += part @ part.T
        true = values[:, labels, np.arange(len(labels))]
        self._true = true.sum(axis=1, dtype=np.float64)

    @classmethod
    def of(cls, probabilities: NDArray[Any], labels: Labels, metric: str) -> _Table:
        """The table of (entries, rows, classes) probabilities."""
        entries, rows, classes = probabilities.shape
        values = np.empty((entries, classes, rows), dtype=np.float32)
        for entry, given in enumerate(probabilities):
            values[entry] = given.T
            values[entry] /= values[entry].sum(axis=0)
        return cls(values, labels, metric)

    def merit(self, weights: NDArray[np.float64]) -> float:
        """The metric of the weighted mean, larger is better."""
        return merit(self.metric, self.labels, self.mean(weights).T)

    def mean(self, weights: NDArray[np.float64]) -> NDArray[np.float32]:
        """(classes, rows) the weighted mean."""
        used = np.flatnonzero(weights)
        shares = weights[used].astype(np.float32)
        mean: NDArray[np.float32] = np.tensordot(shares, self.values[used], axes=1)
        return mean

    def merits(
        self, total: NDArray[np.float32], entries: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """(entries,) the metric of total with each of the entries added; total: a plain sum."""
        found = np.empty(len(entries))
        size = max(1, CHUNK // total.size)
        for start in range(0, len(entries), size):
            ids = entries[start : start + size]
            sums = self.values[ids]
            sums += total
            found[start : start + size] = self._score(sums)
        return found

    def brier(self, counts: NDArray[np.int64], entries: NDArray[np.int64]) -> NDArray[np.float64]:
        """(entries,) the Brier score of the mean of counts with each of the entries added.

        All of it follows from the products of each two entries, so no row is looked at.
        """
        size = counts.sum() + 1
        squares = counts @ self._products @ counts
        crossed = 2 * (self._products @ counts)[entries] + np.diag(self._products)[entries]
        true = counts @ self._true + self._true[entries]
        rows = len(self.labels)
        score: NDArray[np.float64] = 1 + ((squares + crossed) / size - 2 * true) / size / rows
        return score

    def _score(self, sums: NDArray[np.float32]) -> NDArray[np.float64]:
        if self.metric in COUNTED:
            decided = first_largest(sums.swapaxes(0, 1))
            counts = count(decided, self.labels, classes=sums.shape[1])
            return score_counts(self.metric, counts)
        return np.array([merit(self.metric, self.labels, each.T) for each in sums])


def _draw(
    table: _Table,
    bag: NDArray[np.int64],
    limits: Limits,
    architectures: Sequence[str],
    correct: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """(entries,) shares of the best list of draws out of the bag."""
    counts = np.zeros(len(table.values), dtype=np.int64)
    total = np.zeros(table.values.shape[1:], dtype=np.float32)
    chosen: list[int] = []
    best, best_counts = -np.inf, counts
    for _ in range(DRAWS):
        may = [
            entry in chosen
            or limits.admit(entry, chosen, architectures=architectures, correct=correct)
            for entry in bag
        ]
        able = bag[np.array(may, dtype=bool)]
        merits = table.merits(total, able)
        equals = np.flatnonzero(merits >= merits.max() - 1e-12)
        drawn = able[equals[table.brier(counts, able[equals]).argmin()]]
        counts = counts.copy()
        counts[drawn] += 1
        total += table.values[drawn]
        if int(drawn) not in chosen:
            chosen.append(int(drawn))
        if merits.max() > best + 1e-12:
            best, best_counts = float(merits.max()), counts
    shares: NDArray[np.float64] = best_counts / best_counts.sum()
    return shares


def _within(
    weights: NDArray[np.float64],
    limits: Limits,
    architectures: Sequence[str],
    correct: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """The heaviest entries that the limits let vote together, their sum made 1 again."""
    chosen: list[int] = []
    for entry in np.argsort(-weights, kind="stable"):
        is_admitted = limits.admit(
            int(entry), chosen, architectures=architectures, correct=correct
        )
        if weights[entry] > 0 and is_admitted:
            chosen.append(int(entry))
    kept = np.zeros_like(weights)
    kept[chosen] = weights[chosen]
    shares: NDArray[np.float64] = kept / kept.sum()
    return shares
