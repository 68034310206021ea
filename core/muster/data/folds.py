"""Folds for cross-validation, made once and frozen in the study's contract."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from muster.data.dataset import Dataset
from muster.errors import UserError

OUTSIDE = -1


def make_folds(dataset: Dataset, *, folds: int, seed: int) -> NDArray[np.int64]:
    """(len(dataset),) fold number of each labelled training sequence, -1 for all others.

    Stratified by class; where the dataset has groups, no group lies in two folds. UserError for
    one class alone, fewer sequences of a class than folds, or fewer groups than folds.
    """
    # Its import takes a second, which commands that make no folds should not pay.
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold  # noqa: PLC0415

    index = dataset.train_index
    labels = dataset.labels[index]
    groups = dataset.groups[index] if dataset.groups is not None else None
    _check(dataset, labels, groups, folds)
    numbers = np.full(len(dataset), OUTSIDE, dtype=np.int64)
    if groups is None:
        splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
    else:
        splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    for fold, (_, validation) in enumerate(splitter.split(np.zeros(len(index)), labels, groups)):
        numbers[index[validation]] = fold
    _check_made(dataset, numbers[index], labels, folds)
    return numbers


def hold_out(
    dataset: Dataset, index: NDArray[np.int64], *, share: float, seed: int
) -> NDArray[np.int64]:
    """Part of index, about this share of it, for decisions within a training fold; sorted.

    The same share of each class, at least one sequence in all; a class of one stays in training.
    Where the dataset has groups: whole groups, and none that is the last of a class.
    """
    labels = dataset.labels[index]
    rng = np.random.default_rng(seed)
    if dataset.groups is not None and len(np.unique(dataset.groups[index])) > 1:
        return np.sort(index[_whole_groups(labels, dataset.groups[index], share=share, rng=rng)])
    chosen_parts = []
    for code in np.unique(labels):
        members = rng.permutation(index[labels == code])
        count = min(max(1, round(share * len(members))), len(members) - 1)
        chosen_parts.append(members[:count])
    return np.sort(np.concatenate(chosen_parts))


def _whole_groups(
    labels: NDArray[np.int64], groups: NDArray[np.int64], *, share: float, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Which sequences lie in the chosen groups."""
    chosen = np.zeros(len(labels), dtype=np.bool_)
    left = np.bincount(labels)
    for group in rng.permutation(np.unique(groups)):
        members = groups == group
        counts = np.bincount(labels[members], minlength=len(left))
        if ((counts > 0) & (counts == left)).any():
            continue
        chosen |= members
        left -= counts
        if chosen.sum() >= share * len(labels):
            break
    return chosen


def _check(
    dataset: Dataset, labels: NDArray[np.int64], groups: NDArray[np.int64] | None, folds: int
) -> None:
    name, classes = dataset.name, dataset.schema.classes
    if folds < 2:
        raise UserError(f"{folds} folds: cross-validation needs at least 2; ask for more")
    counts = np.bincount(labels, minlength=len(classes))
    if np.count_nonzero(counts) < 2:
        only = [label for label, count in zip(classes, counts, strict=True) if count]
        raise UserError(
            f"{name}: the training sequences have the class {', '.join(only) or '(none)'} alone; "
            "two classes at least are needed to tell apart"
        )
    few = [
        f"{label} ({count})" for label, count in zip(classes, counts, strict=True) if count < folds
    ]
    if few:
        raise UserError(
            f"{name}: fewer training sequences than the {folds} folds in class {', '.join(few)}; "
            "ask for fewer folds, add sequences or leave the class out"
        )
    if groups is not None and len(np.unique(groups)) < folds:
        raise UserError(
            f"{name}: {len(np.unique(groups))} groups for {folds} folds; ask for fewer folds"
        )


def _check_made(
    dataset: Dataset, numbers: NDArray[np.int64], labels: NDArray[np.int64], folds: int
) -> None:
    """Each fold has sequences, and each of their classes is left in its training part."""
    for fold in range(folds):
        if not (numbers == fold).any():
            raise UserError(
                f"{dataset.name}: the groups leave fold {fold} empty; ask for fewer folds"
            )
        lost = set(labels[numbers == fold].tolist()) - set(labels[numbers != fold].tolist())
        if lost:
            names = ", ".join(dataset.schema.classes[label] for label in sorted(lost))
            raise UserError(
                f"{dataset.name}: class {names} lies in one group alone, so that no model can "
                "learn it without that group; leave it out or group otherwise"
            )
