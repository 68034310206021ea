"""Rules that turn the probabilities of several members into one decision.

Pure functions over arrays, block by block, so that a million rows need no second copy. Whose
probabilities vote, and with which weights, muster.selection chooses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muster.calibration import temper
from muster.confusion import BLOCK_ROWS, first_largest
from muster.errors import UserError

Scores = NDArray[np.float64]
Weights = NDArray[np.float64]
# A tie of weighted votes is one to nine digits; what breaks it weighs less than any vote.
DIGITS = 9


def majority(block: NDArray[Any], weights: Weights) -> Scores:
    """One vote a member; ties go to the larger summed probability, then to the earlier class.

    A score is the class's share of the votes, each class's summed probability counting for less
    than one vote altogether, so that it decides ties and nothing else. The weights are not used.
    """
    decided = first_largest(block)
    votes = np.stack([(decided == position).sum(axis=0) for position in range(len(block))])
    scores: Scores = votes + block.sum(axis=1, dtype=np.float64) / (len(weights) + 1)
    return scores


def weighted(block: NDArray[Any], weights: Weights) -> Scores:
    """One vote a member, counted by its weight; ties as in the majority vote."""
    decided = first_largest(block)
    votes = np.stack([weights @ (decided == position) for position in range(len(block))])
    summed = block.mean(axis=1, dtype=np.float64)
    scores: Scores = votes.round(DIGITS) + summed * 10.0**-DIGITS
    return scores


def soft(block: NDArray[Any], weights: Weights) -> Scores:
    """The members' mean probability by their weights; ties go to the earlier class."""
    scores: Scores = np.tensordot(weights, block, axes=(0, 1))
    return scores


Rule = Callable[[NDArray[Any], Weights], Scores]

# A rule takes (classes, members, rows) probabilities and (members,) weights whose sum is 1, and
# gives (classes, rows) scores. greedy votes as soft does: it differs in how weights are chosen.
RULES: dict[str, Rule] = {
    "majority": majority,
    "soft": soft,
    "weighted": weighted,
    "greedy": soft,
}


def vote(
    probabilities: NDArray[np.floating[Any]],
    *,
    rule: str,
    weights: Sequence[float] = (),
    temperatures: Sequence[float] = (),
    factors: Sequence[float] = (),
) -> Scores:
    """The scores of the rule of that name, (sequences, classes); `decide` reads the labels off.

    probabilities: (members, sequences, classes), each row summing to 1 within rounding.
    weights, temperatures: one a member, none for all the same. factors: one a class, by which the
    scores are multiplied before the largest decides. Rows of the scores sum to 1; a member that
    is alone gives its own probabilities, whatever the rule.
    Raises UserError for an unknown rule and ValueError for arrays that are no probabilities.
    """
    if rule not in RULES:
        raise UserError(f"unknown voting rule {rule!r}; take one of {', '.join(RULES)}")
    if probabilities.ndim != 3 or probabilities.shape[0] == 0 or probabilities.shape[2] == 0:
        raise ValueError(
            f"expected shape (members, sequences, classes), got {probabilities.shape}"
        )
    members, rows, classes = probabilities.shape
    shares = _shares(weights, members)
    combine = soft if members == 1 else RULES[rule]
    each = np.ones(classes) if not len(factors) else np.asarray(factors, dtype=np.float64)
    scores = np.empty((rows, classes))
    for start in range(0, rows, BLOCK_ROWS):
        block = _block(probabilities[:, start : start + BLOCK_ROWS], temperatures)
        found = combine(block, shares) * each[:, None]
        scores[start : start + BLOCK_ROWS] = (found / found.sum(axis=0)).T
    return scores


def decide(scores: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
    """(sequences,) class indices of the (sequences, classes) scores."""
    return np.asarray(scores.argmax(axis=1), dtype=np.int64)


def halve(probabilities: NDArray[np.floating[Any]]) -> NDArray[np.float16]:
    """The same in half precision, each row's decision kept where rounding would make a tie."""
    halves = probabilities.astype(np.float16)
    known = np.flatnonzero(np.isfinite(probabilities).all(axis=1))
    decided = probabilities[known].argmax(axis=1)
    lost = halves[known].argmax(axis=1) != decided
    rows, columns = known[lost], decided[lost]
    halves[rows, columns] = np.nextafter(halves[rows, columns], np.float16(1))
    return halves


def _shares(weights: Sequence[float], members: int) -> Weights:
    if not len(weights):
        return np.full(members, 1.0 / members)
    found = np.asarray(weights, dtype=np.float64)
    if found.shape != (members,) or not np.isfinite(found).all() or (found < 0).any():
        raise ValueError(f"expected {members} weights of 0 or more, got {found}")
    if found.sum() == 0:
        raise ValueError("the weights sum to 0: nobody votes")
    shares: Weights = found / found.sum()
    return shares


def _block(probabilities: NDArray[Any], temperatures: Sequence[float]) -> NDArray[Any]:
    """(classes, members, rows), at least single precision, tempered, and checked."""
    dtype = np.promote_types(probabilities.dtype, np.float32)
    block = probabilities.transpose(2, 0, 1).astype(dtype, order="C")
    if block.size and not (block.min() >= 0 and block.max() < np.inf):
        raise ValueError("probabilities must be finite and not negative")
    for member, temperature in enumerate(temperatures):
        block[:, member] = temper(block[:, member], temperature)
    return block
