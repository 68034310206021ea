"""A dataset in memory: sequences of different lengths, laid end to end."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from muster.data.schema import Schema

UNLABELLED = -1


@dataclass(frozen=True)
class Dataset:
    """Sequences with their labels, as muster stores, hashes and trains on them.

    values: (steps, channels) float32, all sequences laid end to end; NaN where missing.
    offsets: (sequences + 1,) int64; sequence i is values[offsets[i]:offsets[i + 1]].
    static: (sequences, features) float32, text columns one-hot; features may be 0.
    labels: (sequences,) int64 indices into schema.classes, UNLABELLED where there is none.
    groups: (sequences,) int64 codes of what must not be split between folds, or None.
    is_test: (sequences,) bool, the part that is never trained on nor chosen by.
    identifiers: one text a sequence, unique within its part.
    """

    name: str
    schema: Schema
    values: NDArray[np.float32]
    offsets: NDArray[np.int64]
    static: NDArray[np.float32]
    labels: NDArray[np.int64]
    groups: NDArray[np.int64] | None
    is_test: NDArray[np.bool_]
    identifiers: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.identifiers)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(sequences,) time steps of each sequence."""
        return np.diff(self.offsets)

    @property
    def train_index(self) -> NDArray[np.int64]:
        """Positions of the labelled sequences outside the test part: what folds divide."""
        return np.flatnonzero(~self.is_test & (self.labels != UNLABELLED)).astype(np.int64)

    @property
    def test_index(self) -> NDArray[np.int64]:
        """Positions of the test part's sequences, labelled or not."""
        return np.flatnonzero(self.is_test).astype(np.int64)
