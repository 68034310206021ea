"""Missing values filled within each sequence, through pandas."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from muster.data.description import Missing

SPLINE_ORDER = 3


def fill_missing(
    values: NDArray[np.float32], lengths: NDArray[np.int64], *, method: Missing
) -> NDArray[np.float32]:
    """values (steps, channels) with the gaps of each sequence filled from that sequence alone.

    "forward" repeats the last value; "linear" and "spline" (cubic; linear where a channel
    has no more than three values) interpolate over the steps, and repeat the first and last value
    outwards.
    What nothing in the sequence can fill stays NaN: learning takes the training mean for it.
    """
    if method == "none" or not np.isnan(values).any():
        return values
    filled = values.copy()
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    gaps = np.flatnonzero(np.isnan(values).any(axis=1))
    for sequence in np.unique(np.searchsorted(offsets, gaps, side="right") - 1):
        rows = slice(offsets[sequence], offsets[sequence + 1])
        filled[rows] = _fill(pd.DataFrame(values[rows], dtype=np.float64), method)
    return filled


def _fill(frame: pd.DataFrame, method: Missing) -> NDArray[np.float32]:
    if method == "forward":
        frame = frame.ffill()
    else:
        if method == "spline":
            long = frame.columns[(frame.notna().sum() > SPLINE_ORDER) & frame.isna().any()]
            for name in long:
                frame[name] = frame[name].interpolate(
                    method="spline", order=SPLINE_ORDER, limit_area="inside"
                )
        frame = frame.interpolate(method="linear", limit_direction="both")
    return frame.to_numpy(dtype=np.float32)
