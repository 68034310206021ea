"""Probabilities made honest by one temperature, and decision thresholds of the classes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from muster.confusion import Labels, first_largest, merit, score_counts

# Below this a probability of half precision is noise; 0 has no logarithm.
SMALLEST = 1e-6
TEMPERATURES = (0.05, 20.0)
# One number is fitted: more rows than these would not move it.
ROWS = 10_000
FACTORS = np.geomspace(0.25, 4.0, 33)
ROUNDS = 3
# What thresholds must gain on rows that did not fit them, before they are taken.
LEAST_GAIN = 0.005


def temper(probabilities: NDArray[Any], temperature: float) -> NDArray[Any]:
    """(classes, rows) probabilities at that temperature: above 1 less sure, below 1 surer.

    Temperature scaling (Guo et al., 2017), on log-probabilities, which softmax takes for logits.
    """
    if temperature == 1.0:
        return probabilities
    logits = np.log(np.maximum(probabilities, SMALLEST)) / temperature
    powers = np.exp(logits - logits.max(axis=0))
    tempered: NDArray[Any] = powers / powers.sum(axis=0)
    return tempered


def fit_temperature(probabilities: NDArray[Any], labels: Labels) -> float:
    """The temperature with the smallest log loss over (rows, classes) probabilities."""
    from scipy.optimize import minimize_scalar  # noqa: PLC0415 - as in metrics.py

    step = -(-len(labels) // ROWS)
    chosen, truth = probabilities[::step].T.astype(np.float64, order="C"), labels[::step]
    logits = np.log(np.maximum(chosen, SMALLEST))
    rows = np.arange(len(truth))

    def loss(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        scaled -= scaled.max(axis=0)
        losses = np.log(np.exp(scaled).sum(axis=0)) - scaled[truth, rows]
        return float(losses.mean())

    bounds = tuple(np.log(TEMPERATURES))
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-3})
    return float(np.exp(found.x)) if found.fun < loss(0.0) else 1.0


def fit_factors(
    scores: NDArray[np.float64], labels: Labels, *, metric: str, parts: NDArray[np.int64]
) -> tuple[float, ...]:
    """Factors of the classes' scores, their thresholds turned over; none where they do not help.

    parts: (rows,) numbers; the factors are fitted without each part in turn and scored on it, and
    taken where that gains LEAST_GAIN at least. Thresholds serve macro-F1; none for other metrics.
    """
    if metric != "macro_f1" or len(np.unique(parts)) < 2:
        return ()
    crossed = scores.copy()
    for part in np.unique(parts):
        held = parts == part
        crossed[held] *= _ascend(scores[~held], labels[~held], metric)
    if merit(metric, labels, crossed) < merit(metric, labels, scores) + LEAST_GAIN:
        return ()
    return tuple(_ascend(scores, labels, metric).tolist())


def _ascend(scores: NDArray[np.float64], labels: Labels, metric: str) -> NDArray[np.float64]:
    """Coordinate ascent: one class's factor after the other, a few rounds."""
    by_class = np.ascontiguousarray(scores.T)
    factors = np.ones(len(by_class))
    for _ in range(ROUNDS):
        before = factors.copy()
        for position in range(len(by_class)):
            factors[position] = _best_factor(by_class * factors[:, None], labels, position, metric)
            factors[position] *= before[position]
        if (factors == before).all():
            break
    return factors


def _best_factor(
    by_class: NDArray[np.float64], labels: Labels, position: int, metric: str
) -> float:
    """The factor of FACTORS for one class that scores best; 1 unless another is better."""
    classes = len(by_class)
    others = by_class.copy()
    others[position] = -1.0
    rival = first_largest(others).astype(np.int64)
    ratio = others.max(axis=0) / np.maximum(by_class[position], 1e-300)
    order = np.argsort(ratio)
    switched = np.searchsorted(ratio[order], FACTORS)
    cells = labels[order] * classes
    stays = np.bincount(labels * classes + rival, minlength=classes**2)
    counts = np.empty((len(FACTORS), classes**2), dtype=np.int64)
    for row, many in enumerate(switched):
        left = np.bincount(cells[:many] + rival[order[:many]], minlength=classes**2)
        taken = np.bincount(cells[:many] + position, minlength=classes**2)
        counts[row] = stays - left + taken
    found = score_counts(metric, counts.reshape(-1, classes, classes))
    middle = len(FACTORS) // 2
    best = int(found.argmax())
    return float(FACTORS[best]) if found[best] > found[middle] else 1.0
