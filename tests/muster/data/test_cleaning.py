from __future__ import annotations

import numpy as np
import pytest

from muster.data.cleaning import fill_missing
from muster.data.description import Missing

NAN = np.nan
GAPPY = np.array([NAN, 1, NAN, 3, NAN, 10, NAN, 20], dtype=np.float32)[:, None]
LENGTHS = np.array([5, 3])


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("none", [NAN, 1, NAN, 3, NAN, 10, NAN, 20]),
        ("forward", [NAN, 1, 1, 3, 3, 10, 10, 20]),
        ("linear", [1, 1, 2, 3, 3, 10, 15, 20]),
        ("spline", [1, 1, 2, 3, 3, 10, 15, 20]),
    ],
)
def test_gaps_are_filled_from_their_own_sequence(method: Missing, expected: list[float]) -> None:
    filled = fill_missing(GAPPY, LENGTHS, method=method)
    np.testing.assert_allclose(filled[:, 0], expected)


def test_a_spline_follows_a_cubic_and_never_leaves_the_known_range() -> None:
    steps = np.arange(9.0)
    cubic = (steps**3 - 5 * steps**2 + 1).astype(np.float32)[:, None]
    gappy = cubic.copy()
    gappy[[0, 3, 4, 8]] = NAN
    filled = fill_missing(gappy, np.array([9]), method="spline")
    np.testing.assert_allclose(filled[1:8], cubic[1:8], atol=1e-3)
    assert filled[0] == cubic[1] and filled[8] == cubic[7]


@pytest.mark.parametrize("method", ["forward", "linear", "spline"])
def test_an_empty_channel_stays_missing_and_others_stay_untouched(method: Missing) -> None:
    values = np.array([[NAN, 1], [NAN, 2], [NAN, 5]], dtype=np.float32)
    filled = fill_missing(values, np.array([3]), method=method)
    np.testing.assert_array_equal(filled, values)
    assert filled.dtype == np.float32


def test_the_input_is_left_as_it_was() -> None:
    before = GAPPY.copy()
    fill_missing(GAPPY, LENGTHS, method="linear")
    np.testing.assert_array_equal(GAPPY, before)
