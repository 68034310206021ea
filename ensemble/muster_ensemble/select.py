"""A completed trial as an ensemble knows it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muster.config import TrialConfig


@dataclass(frozen=True)
class Candidate:
    """A completed trial, with what an ensemble needs of it.

    value: the study's metric over the out-of-fold predictions. params: as in Optuna, dotted names.
    oof: (sequences, classes), NaN rows for all that is outside the training part.
    test: (test sequences, classes), the mean over the fold models. curves: one mapping an epoch.
    weights: blob of each fold's model by name (`fold0`, ...); empty once they were collected.
    """

    number: int
    value: float
    config: TrialConfig
    oof: NDArray[np.floating[Any]]
    test: NDArray[np.floating[Any]]
    params: dict[str, Any] = field(default_factory=dict)
    curves: list[dict[str, Any]] = field(default_factory=list)
    fold_scores: tuple[float, ...] = ()
    weights: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def architecture(self) -> str:
        """Name of the architecture in the registry."""
        return self.config.architecture.name
