"""Centre and scale of channels, whatever is missing in them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
# Below float32's resolution a spread is rounding, and dividing by it would blow it up.
RESOLUTION = 1e-7


def _standard(column: Floats) -> tuple[float, float]:
    return float(column.mean()), float(column.std())


def _min_max(column: Floats) -> tuple[float, float]:
    return float(column.min()), float(column.max() - column.min())


def _robust(column: Floats) -> tuple[float, float]:
    low, middle, high = np.percentile(column, [25, 50, 75])
    return float(middle), float(high - low)


def _none(column: Floats) -> tuple[float, float]:
    return 0.0, 1.0


CENTRES: dict[str, Callable[[Floats], tuple[float, float]]] = {
    "standard": _standard,
    "min_max": _min_max,
    "robust": _robust,
    "none": _none,
}


def mean(values: Floats) -> Floats:
    """Means without NaN; 0 where there is nothing else."""
    counts = np.maximum((~np.isnan(values)).sum(axis=0), 1)
    return np.asarray(np.nansum(values, axis=0) / counts)


def centre_and_scale(values: Floats, method: str) -> tuple[Floats, Floats]:
    """(columns,) centre and scale of values (rows, columns), NaN left out.

    A column that does not vary, or holds nothing, has the scale 1.
    """
    centre, scale = np.zeros(values.shape[1]), np.ones(values.shape[1])
    for position, column in enumerate(values.T):
        present = column[~np.isnan(column)]
        if len(present):
            centre[position], scale[position] = CENTRES[method](present)
    varies = scale > RESOLUTION * np.maximum(np.abs(centre), 1e-30)
    return centre, np.where(varies, scale, 1.0)


def per_sequence(values: Floats, lengths: NDArray[np.int64]) -> Floats:
    """values (sum of lengths, channels) with mean 0 and deviation 1 in each sequence, NaN as 0."""
    starts = np.cumsum(lengths) - lengths
    present = ~np.isnan(values)
    counts = np.maximum(np.add.reduceat(present.astype(np.int64), starts, axis=0), 1)
    means = np.add.reduceat(np.where(present, values, 0.0), starts, axis=0) / counts
    centred = np.where(present, values - np.repeat(means, lengths, axis=0), 0.0)
    deviations = np.sqrt(np.add.reduceat(centred**2, starts, axis=0) / counts)
    scale = np.where(deviations > RESOLUTION * np.maximum(np.abs(means), 1e-30), deviations, 1.0)
    return np.asarray(centred / np.repeat(scale, lengths, axis=0))
