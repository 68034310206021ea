"""Decisions of many members at once, counted, and the metrics that need the counts alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muster.metrics import METRICS, score

Labels = NDArray[np.int64]
Counts = NDArray[np.int64]
# Rows that go through at once: what lies in a core's cache is counted several times as fast.
BLOCK_ROWS = 8192


def first_largest(scores: NDArray[Any]) -> NDArray[np.int16]:
    """(...) the first class with the largest of the (classes, ...) scores; argmax over axis 0."""
    best = scores[0].copy()
    decided = np.zeros(best.shape, dtype=np.int16)
    for position in range(1, len(scores)):
        # numpy's argmax over a short axis is several times slower than these two sweeps.
        is_larger = scores[position] > best
        np.maximum(decided, is_larger * np.int16(position), out=decided)
        np.maximum(best, scores[position], out=best)
    return decided


def decisions(probabilities: NDArray[Any]) -> NDArray[np.int16]:
    """(members, rows) class indices of (members, rows, classes) probabilities, first among equals.

    Member by member and block by block: half precision is never widened as a whole.
    """
    members, rows, _ = probabilities.shape
    decided = np.empty((members, rows), dtype=np.int16)
    for member in range(members):
        for start in range(0, rows, BLOCK_ROWS):
            block = probabilities[member, start : start + BLOCK_ROWS]
            by_class = block.T.astype(np.promote_types(block.dtype, np.float32), order="C")
            decided[member, start : start + BLOCK_ROWS] = first_largest(by_class)
    return decided


def count(decided: NDArray[Any], labels: Labels, *, classes: int) -> Counts:
    """(members, classes, classes) confusion matrices, [label, decision].

    decided: (members, rows). labels: (rows,), int64 class indices.
    """
    cells = classes * classes
    base = labels * classes
    counts = np.empty((len(decided), cells), dtype=np.int64)
    for member, row in enumerate(decided):
        counts[member] = np.bincount(base + row, minlength=cells)
    return counts.reshape(-1, classes, classes)


def _f1(counts: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """F1 of each class, and what it is divided by, which is 0 for a class that nowhere occurs."""
    hits = np.diagonal(counts, axis1=-2, axis2=-1)
    whole = (counts.sum(axis=-1) + counts.sum(axis=-2)).astype(np.float64)
    return 2.0 * hits / np.maximum(whole, 1e-12), whole


def _macro_f1(counts: NDArray[Any]) -> NDArray[np.float64]:
    f1, whole = _f1(counts)
    mean: NDArray[np.float64] = f1.sum(axis=-1) / np.maximum((whole > 0).sum(axis=-1), 1)
    return mean


def _weighted_f1(counts: NDArray[Any]) -> NDArray[np.float64]:
    f1, _ = _f1(counts)
    support = counts.sum(axis=-1)
    mean: NDArray[np.float64] = (f1 * support).sum(axis=-1) / support.sum(axis=-1)
    return mean


def _accuracy(counts: NDArray[Any]) -> NDArray[np.float64]:
    hits: NDArray[np.float64] = np.trace(counts, axis1=-2, axis2=-1) / counts.sum(axis=(-2, -1))
    return hits


def _balanced_accuracy(counts: NDArray[Any]) -> NDArray[np.float64]:
    support = counts.sum(axis=-1)
    recall = np.diagonal(counts, axis1=-2, axis2=-1) / np.maximum(support, 1e-12)
    mean: NDArray[np.float64] = recall.sum(axis=-1) / np.maximum((support > 0).sum(axis=-1), 1)
    return mean


COUNTED: dict[str, Callable[[NDArray[Any]], NDArray[np.float64]]] = {
    "macro_f1": _macro_f1,
    "weighted_f1": _weighted_f1,
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced_accuracy,
}


def score_counts(metric: str, counts: NDArray[Any]) -> NDArray[np.float64]:
    """(...) the metric, one of COUNTED, of (..., classes, classes) counts; as in METRICS."""
    return COUNTED[metric](counts)


def merit(metric: str, labels: Labels, scores: NDArray[Any]) -> float:
    """The metric of (rows, classes) scores, turned so that larger is better."""
    if metric in COUNTED:
        counts = count(decisions(scores[None]), labels, classes=scores.shape[1])
        return float(score_counts(metric, counts)[0])
    return sign(metric) * score(metric, labels, scores)


def sign(metric: str) -> float:
    """1 where larger is better, -1 where smaller is."""
    return 1.0 if METRICS[metric].direction == "maximize" else -1.0


def chance(metric: str, labels: Labels, *, classes: int) -> float:
    """The merit to expect of labels drawn by the labels' own frequencies.

    For the log loss it is that of the frequencies themselves.
    """
    shares = np.bincount(labels, minlength=classes) / len(labels)
    shares = shares[shares > 0]
    if metric == "log_loss":
        return float((shares * np.log(shares)).sum())
    is_macro = metric in ("macro_f1", "balanced_accuracy")
    return float(1 / len(shares) if is_macro else (shares**2).sum())
