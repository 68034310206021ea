from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from muster.calibration import fit_factors, fit_temperature, temper
from muster.metrics import score


def drawn(seed: int, rows: int, classes: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Probabilities and labels that were drawn by them."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (rows, classes))
    powers = np.exp(logits)
    probabilities = powers / powers.sum(axis=1, keepdims=True)
    labels = (probabilities.cumsum(axis=1) < rng.random((rows, 1))).sum(axis=1)
    return probabilities, np.minimum(labels, classes - 1)


@pytest.mark.parametrize("distortion", [0.3, 1.0, 2.5])
def test_the_temperature_that_distorted_is_found_and_undone(distortion: float) -> None:
    honest, labels = drawn(1, 6000, 3)
    distorted = temper(honest.T, 1 / distortion).T
    found = fit_temperature(distorted, labels)
    assert found == pytest.approx(distortion, rel=0.1)
    mended = temper(distorted.T, found).T
    np.testing.assert_allclose(mended.sum(axis=1), 1.0)
    assert score("log_loss", labels, mended) <= score("log_loss", labels, distorted)


def test_a_temperature_never_moves_a_decision_and_takes_zeros() -> None:
    probabilities = np.array([[1.0, 0.0], [0.3, 0.7], [0.0, 1.0]], dtype=np.float16)
    for temperature in (0.2, 1.0, 5.0):
        tempered = temper(probabilities.T.astype(np.float32), temperature).T
        assert np.isfinite(tempered).all()
        assert (tempered.argmax(axis=1) == probabilities.argmax(axis=1)).all()
    assert 0.05 <= fit_temperature(probabilities, np.array([0, 1, 1])) <= 20


def test_thresholds_are_taken_where_a_rare_class_is_hidden() -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random(3000) < 0.1).astype(np.int64)
    signal = np.clip(0.15 + 0.2 * labels + rng.normal(0, 0.06, 3000), 0.01, 0.99)
    scores = np.stack([1 - signal, signal], axis=1)
    parts = np.arange(3000) % 3
    factors = fit_factors(scores, labels, metric="macro_f1", parts=parts)
    assert factors[1] > factors[0]
    before, after = score("macro_f1", labels, scores), score("macro_f1", labels, scores * factors)
    assert after > before + 0.1


def test_thresholds_are_left_alone_where_they_do_not_help() -> None:
    probabilities, labels = drawn(3, 400, 3)
    parts = np.arange(400) % 3
    honest = probabilities * 0.2 + np.eye(3)[labels] * 0.8
    assert fit_factors(honest, labels, metric="macro_f1", parts=parts) == ()
    assert fit_factors(probabilities, labels, metric="accuracy", parts=parts) == ()
    assert fit_factors(probabilities, labels, metric="macro_f1", parts=parts * 0) == ()
