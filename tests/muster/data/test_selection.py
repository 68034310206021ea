from __future__ import annotations

import numpy as np

from muster.data.selection import rows_of


def test_rows_follow_the_order_of_the_index() -> None:
    offsets = np.array([0, 2, 5, 6])
    assert rows_of(offsets, np.array([2, 0])).tolist() == [5, 0, 1]
    assert rows_of(offsets, np.array([1, 1])).tolist() == [2, 3, 4, 2, 3, 4]
    assert rows_of(offsets, np.array([], dtype=np.int64)).tolist() == []
