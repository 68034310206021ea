from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muster.confusion import COUNTED, chance, count, decisions, merit, score_counts
from muster.metrics import METRICS, score


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), classes=st.integers(2, 5), rows=st.integers(1, 30))
def test_counted_metrics_are_scikit_learns(seed: int, classes: int, rows: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, rows)
    scores = rng.integers(0, 3, (2, rows, classes)).astype(np.float32)
    counts = count(decisions(scores), labels, classes=classes)
    for metric in COUNTED:
        expected = [score(metric, labels, each) for each in scores]
        np.testing.assert_allclose(score_counts(metric, counts), expected, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_decisions_are_the_first_of_the_largest(dtype: type) -> None:
    rng = np.random.default_rng(1)
    probabilities = rng.integers(0, 3, (3, 9000, 4)).astype(dtype)
    assert (decisions(probabilities) == probabilities.argmax(axis=2)).all()


def test_merit_is_larger_for_the_smaller_loss() -> None:
    labels = np.array([0, 1])
    good, bad = np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([[0.6, 0.4], [0.5, 0.5]])
    assert merit("log_loss", labels, good) > merit("log_loss", labels, bad)
    assert merit("log_loss", labels, good) == -score("log_loss", labels, good)


@pytest.mark.parametrize("metric", METRICS)
def test_chance_is_what_guessing_reaches(metric: str) -> None:
    rng = np.random.default_rng(0)
    labels = rng.choice(4, 30_000, p=[0.7, 0.2, 0.1, 0.0])
    shares = np.bincount(labels, minlength=4) / len(labels)
    guess = np.eye(4)[rng.choice(4, len(labels), p=shares)]
    if metric == "log_loss":
        guess = np.tile(shares, (len(labels), 1))
    expected = merit(metric, labels, guess)
    assert chance(metric, labels, classes=4) == pytest.approx(expected, abs=0.01)
