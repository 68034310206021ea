"""Metrics are scikit-learn's."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from muster.metrics import METRICS, score

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 4, 50)
PROBABILITIES = RNG.dirichlet(np.ones(4), 50).astype(np.float32)
Of = Callable[[Any, Any, Any], float]
DEFINITIONS: dict[str, Of] = {
    "macro_f1": lambda y, p, q: sklearn_metrics.f1_score(y, q, average="macro", zero_division=0),
    "weighted_f1": lambda y, p, q: sklearn_metrics.f1_score(
        y, q, average="weighted", zero_division=0
    ),
    "accuracy": lambda y, p, q: sklearn_metrics.accuracy_score(y, q),
    "balanced_accuracy": lambda y, p, q: sklearn_metrics.balanced_accuracy_score(y, q),
    "log_loss": lambda y, p, q: sklearn_metrics.log_loss(y, p, labels=[0, 1, 2, 3]),
}


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("missing", [None, 0, 3])
def test_a_metric_is_what_scikit_learn_says(metric: str, missing: int | None) -> None:
    kept = missing != LABELS
    labels, probabilities = LABELS[kept], PROBABILITIES[kept].astype(np.float64)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = DEFINITIONS[metric](labels, probabilities, probabilities.argmax(axis=1))
    assert score(metric, labels, PROBABILITIES[kept]) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("metric", METRICS)
def test_right_predictions_are_the_best(metric: str) -> None:
    right = np.eye(4, dtype=np.float32)[LABELS]
    best = 0.0 if METRICS[metric].direction == "minimize" else 1.0
    assert score(metric, LABELS, right) == pytest.approx(best, abs=1e-6)
    wrong = np.eye(4, dtype=np.float32)[(LABELS + 1) % 4]
    assert np.isfinite(score(metric, LABELS, wrong))
    assert (score(metric, LABELS, wrong) < best) == (METRICS[metric].direction == "maximize")


@pytest.mark.parametrize("metric", METRICS)
def test_one_sequence_of_one_class_is_scored(metric: str) -> None:
    assert np.isfinite(score(metric, LABELS[:1], PROBABILITIES[:1]))


def test_a_class_that_is_never_predicted_counts_as_zero() -> None:
    labels = np.array([0, 0, 1, 1])
    always_first = np.tile(np.array([[0.9, 0.1]], dtype=np.float32), (4, 1))
    assert score("macro_f1", labels, always_first) == pytest.approx(1 / 3)
    assert score("balanced_accuracy", labels, always_first) == 0.5
