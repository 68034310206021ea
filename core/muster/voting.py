"""Rules that turn the probabilities of several members into one decision.

Pure functions over arrays. A rule takes (members, sequences, classes) probabilities and returns
(sequences, classes) scores whose rows sum to 1 and whose first largest entry is the decision.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muster.errors import UserError

Scores = NDArray[np.float64]


def majority(probabilities: Scores) -> Scores:
    """One vote a member; ties go to the larger summed probability, then to the earlier class.

    A score is the class's share of the votes, each class's summed probability counting for less
    than one vote altogether, so that it decides ties and nothing else.
    """
    members, _, classes = probabilities.shape
    votes = (probabilities.argmax(axis=2)[..., None] == np.arange(classes)).sum(axis=0)
    summed = probabilities.sum(axis=0) / (members + 1)
    return _shares(votes + summed)


def soft(probabilities: Scores) -> Scores:
    """The members' mean probability; ties go to the earlier class."""
    return _shares(probabilities.mean(axis=0))


Rule = Callable[[Scores], Scores]

RULES: dict[str, Rule] = {
    "majority": majority,
    "soft": soft,
}


def vote(probabilities: NDArray[np.floating[Any]], *, rule: str) -> Scores:
    """The scores of the rule of that name, (sequences, classes); `decide` reads the labels off.

    probabilities: (members, sequences, classes), each row summing to 1 within rounding.
    Raises UserError for an unknown rule and ValueError for arrays that are no probabilities.
    """
    if rule not in RULES:
        raise UserError(f"unknown voting rule {rule!r}; take one of {', '.join(RULES)}")
    array = np.asarray(probabilities, dtype=np.float64)
    if array.ndim != 3 or array.shape[0] == 0 or array.shape[2] == 0:
        raise ValueError(f"expected (members, sequences, classes), got shape {array.shape}")
    if not np.isfinite(array).all() or (array < 0).any():
        raise ValueError("probabilities must be finite and not negative")
    return RULES[rule](array)


def decide(scores: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
    """(sequences,) class indices of the (sequences, classes) scores."""
    return np.asarray(scores.argmax(axis=1), dtype=np.int64)


def _shares(scores: Scores) -> Scores:
    shares: Scores = scores / scores.sum(axis=1, keepdims=True)
    return shares
