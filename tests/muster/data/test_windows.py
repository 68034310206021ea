from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from muster.data.windows import window_starts


@settings(max_examples=100, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    window=st.integers(1, 50) | st.none(),
    stride=st.integers(1, 60) | st.none(),
)
def test_windows_cover_every_step_and_stay_inside_their_sequence(
    lengths: list[int], window: int | None, stride: int | None
) -> None:
    sequence, start = window_starts(np.array(lengths), window=window, stride=stride)
    assert sequence.dtype == start.dtype == np.int64
    assert (np.diff(sequence) >= 0).all()
    for number, length in enumerate(lengths):
        size = min(window or length, length)
        starts = start[sequence == number]
        assert len(set(starts.tolist())) == len(starts) >= 1
        covered = {step for first in starts for step in range(first, first + size)}
        assert covered == set(range(length))
    if window is None:
        assert len(start) == len(lengths)


def test_the_stride_is_half_a_window_unless_given() -> None:
    _, start = window_starts(np.array([9]), window=4, stride=None)
    assert start.tolist() == [0, 2, 4, 5]
    sequence, start = window_starts(np.array([9, 2, 4]), window=4, stride=4)
    assert sequence.tolist() == [0, 0, 0, 1, 2]
    assert start.tolist() == [0, 4, 5, 0, 0]
