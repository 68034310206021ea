"""Which rows of a dataset belong to chosen sequences."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def rows_of(offsets: NDArray[np.int64], index: NDArray[np.int64]) -> NDArray[np.int64]:
    """Row positions of the sequences at index, in the order of index, laid end to end."""
    lengths = offsets[index + 1] - offsets[index]
    ends = np.cumsum(lengths)
    shift = np.repeat(offsets[index] - (ends - lengths), lengths)
    return np.asarray(np.arange(int(lengths.sum())) + shift, dtype=np.int64)
