"""Class weights even out the classes and keep the loss's size."""

from __future__ import annotations

import numpy as np
import pytest

from muster.sampling import class_weights

LABELS = np.array([0] * 60 + [1] * 30 + [2] * 10)


@pytest.mark.parametrize("power", [0.0, 0.3, 0.5, 1.0])
def test_weights_are_one_on_average_over_the_labels(power: float) -> None:
    weights = class_weights(LABELS, classes=3, power=power)
    assert weights.dtype == np.float32
    assert weights[LABELS].mean() == pytest.approx(1.0, rel=1e-6)
    assert weights[0] / weights[2] == pytest.approx((10 / 60) ** power, rel=1e-6)


def test_power_zero_counts_every_sequence_alike() -> None:
    np.testing.assert_array_equal(class_weights(LABELS, classes=3, power=0.0), np.ones(3))


def test_power_one_counts_every_class_alike() -> None:
    weights = class_weights(LABELS, classes=3, power=1.0)
    totals = weights * np.bincount(LABELS)
    np.testing.assert_allclose(totals, np.full(3, 100 / 3), rtol=1e-6)


def test_a_class_without_labels_weighs_nothing() -> None:
    weights = class_weights(LABELS, classes=5, power=1.0)
    np.testing.assert_array_equal(weights[3:], 0.0)
    assert np.isfinite(weights).all()
    assert weights[LABELS].mean() == pytest.approx(1.0, rel=1e-6)
