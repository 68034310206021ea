"""Which trials vote: the best ones, and not too many of one architecture."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muster.config import TrialConfig
from muster.errors import UserError

FEWEST = 2
ODD_VOTE = 3


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
    oof: NDArray[np.float32]
    test: NDArray[np.float32]
    params: dict[str, Any] = field(default_factory=dict)
    curves: list[dict[str, Any]] = field(default_factory=list)
    fold_scores: tuple[float, ...] = ()
    weights: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def architecture(self) -> str:
        """Name of the architecture in the registry."""
        return self.config.architecture.name


def rank(candidates: Iterable[Candidate], *, direction: str) -> list[Candidate]:
    """Best first by value, earlier trials first among equals; without a finite value: left out."""
    if direction not in ("maximize", "minimize"):
        raise ValueError(f"direction is maximize or minimize, not {direction!r}")
    sign = -1.0 if direction == "maximize" else 1.0
    finite = [candidate for candidate in candidates if math.isfinite(candidate.value)]
    return sorted(finite, key=lambda candidate: (sign * candidate.value, candidate.number))


def choose(
    candidates: Iterable[Candidate],
    *,
    direction: str,
    size: int = 5,
    most_of_one_architecture: int = 2,
) -> list[Candidate]:
    """The members, best first: the best trials, at most so many of one architecture.

    Only trials whose weights are still there can be exported, so only these are chosen. Where the
    limit would leave fewer than three members, the next best fill up: two votes only ever tie.
    Raises UserError for fewer than two such trials and for limits that leave no ensemble.
    """
    if size < FEWEST or most_of_one_architecture < 1:
        raise UserError(
            f"an ensemble of {size} members with at most {most_of_one_architecture} of one "
            f"architecture is none; ask for {FEWEST} or more members, and 1 or more of each"
        )
    ranked = [c for c in rank(candidates, direction=direction) if c.weights]
    if len(ranked) < FEWEST:
        raise UserError(
            f"an ensemble needs {FEWEST} completed trials with their weights, there "
            f"{'is' if len(ranked) == 1 else 'are'} {len(ranked)}; run more trials of this study"
        )
    counts: Counter[str] = Counter()
    chosen: list[Candidate] = []
    for candidate in ranked:
        if len(chosen) < size and counts[candidate.architecture] < most_of_one_architecture:
            counts[candidate.architecture] += 1
            chosen.append(candidate)
    taken = {candidate.number for candidate in chosen}
    spare = [candidate for candidate in ranked if candidate.number not in taken]
    missing = max(0, min(size, ODD_VOTE) - len(chosen))
    return rank([*chosen, *spare[:missing]], direction=direction)
