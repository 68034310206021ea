"""Whether a bundle is whole and still reaches the figure that it was exported with."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ValidationError

from muster.confusion import merit, sign
from muster.data.dataset import UNLABELLED, Dataset
from muster.data.fingerprint import fingerprint
from muster.errors import UserError
from muster_ensemble.bundle import Bundle
from muster_ensemble.predict import Predictor
from muster_ensemble.storage import MEND

# The stored predictions have half precision, and a device adds up in its own order.
TOLERANCE = 0.005


class Evidence(BaseModel):
    """What of a contract verifying takes."""

    dataset_fingerprint: str
    dataset_name: str
    folds: tuple[int, ...]
    metric: str


@dataclass(frozen=True)
class Verdict:
    """The bundle's figure, the one found now, and over how many sequences."""

    metric: str
    stored: float
    found: float
    sequences: int


def evidence(path: Path, bundle: Bundle) -> Evidence | None:
    """What the figure was made of, or None in a bundle of before format 3.

    Raises UserError where the contract is none.
    """
    if bundle.contract is None or bundle.figure is None:
        return None
    try:
        return Evidence.model_validate(json.loads(bundle.contract))
    except (ValueError, ValidationError, RecursionError) as fault:
        raise UserError(f"{path}: its contract cannot be read ({fault}); {MEND}") from fault


def is_refitted(told: Evidence, bundle: Bundle) -> bool:
    """Whether the members were trained on all labelled data: no sequence is out of their folds."""
    return all(len(member.folds) <= max(told.folds) for member in bundle.members)


def reproduce(path: Path, predictor: Predictor, dataset: Dataset) -> Verdict:
    """The out-of-fold figure found anew: each sequence predicted by the models not trained on it.

    Raises UserError for another dataset than the contract's, for folds that are not the members',
    and for a figure that is further than TOLERANCE from the bundle's.
    """
    bundle = predictor.bundle
    told = evidence(path, bundle)
    if told is None or bundle.figure is None:
        raise UserError(f"{path}: holds no contract or figure to compare with; export it again")
    if fingerprint(dataset) != told.dataset_fingerprint:
        raise UserError(
            f"{path}: made of the dataset {told.dataset_name} with the fingerprint "
            f"{told.dataset_fingerprint}, {dataset.name} has another; name the one it was made of"
        )
    folds = np.array(told.folds, dtype=np.int64)
    if len(folds) != len(dataset) or (dataset.labels[folds >= 0] == UNLABELLED).any():
        raise UserError(f"{path}: its contract's folds do not fit the dataset; {MEND}")
    rows = np.flatnonzero(folds >= 0)
    scores = predictor.out_of_fold(dataset, folds)[rows]
    found = sign(told.metric) * merit(told.metric, dataset.labels[rows], scores)
    if not abs(found - bundle.figure) <= TOLERANCE:
        raise UserError(
            f"{path}: reaches {told.metric} {found:.4f} out of fold, not the {bundle.figure:.4f} "
            "that it was exported with; export it again"
        )
    return Verdict(told.metric, bundle.figure, found, len(rows))
