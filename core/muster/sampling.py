"""How much each class counts in training."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def class_weights(labels: NDArray[np.int64], *, classes: int, power: float) -> NDArray[np.float32]:
    """(classes,) weights: the inverse class frequency to this power, 1 on average over labels.

    power 0 counts every sequence alike, power 1 every class alike (King & Zeng, 2001). A class
    without a label gets the weight 0.
    """
    counts = np.bincount(labels, minlength=classes).astype(np.float64)
    present = counts > 0
    weights = np.zeros(classes)
    weights[present] = (len(labels) / counts[present]) ** power
    return np.asarray(weights * len(labels) / (weights * counts).sum(), dtype=np.float32)
