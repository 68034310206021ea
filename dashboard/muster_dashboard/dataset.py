"""The figures of the Dataset page."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from muster_db.contract import Contract
from muster_db.outline import Outline
from muster_db.study import Study

BINS: Final = 20
MOST_NAMES: Final = 60


def dataset(study: Study, outline: Outline) -> dict[str, Any]:
    """What the study's trials train on, as plain data."""
    contract = study.contract
    schema = contract.dataset_schema
    folds = np.asarray(contract.folds, dtype=np.int64)
    is_labelled = outline.labels >= 0
    return {
        "study": study.name,
        "study_id": study.study_id,
        "name": contract.dataset_name,
        "fingerprint": contract.dataset_fingerprint,
        "sequences": len(outline.lengths),
        "labelled": int((is_labelled & ~outline.is_test).sum()),
        "test": int(outline.is_test.sum()),
        "steps": int(outline.lengths.sum()),
        "channels": list(schema.channels[:MOST_NAMES]),
        "channels_in_all": len(schema.channels),
        "static": [column.name for column in schema.static[:MOST_NAMES]],
        "lengths": lengths(outline.lengths),
        "classes": _classes(contract, outline, folds),
        "folds": _folds(contract, outline, folds),
        "groups": _groups(outline),
    }


def lengths(found: NDArray[np.int64]) -> dict[str, Any]:
    """Least, median and most time steps, and how many sequences lie in each of a few bins."""
    if not len(found):
        return {"least": 0, "median": 0, "most": 0, "edges": [], "counts": []}
    least, most = int(found.min()), int(found.max())
    bins = min(BINS, most - least + 1)
    counts, edges = np.histogram(found, bins=bins, range=(least, most + 1))
    return {
        "least": least,
        "median": float(np.median(found)),
        "most": most,
        "edges": [float(edge) for edge in edges],
        "counts": [int(count) for count in counts],
    }


def _classes(
    contract: Contract, outline: Outline, folds: NDArray[np.int64]
) -> list[dict[str, Any]]:
    names = contract.dataset_schema.classes
    train = np.bincount(outline.labels[folds >= 0], minlength=len(names))
    is_tested = outline.is_test & (outline.labels >= 0)
    test = np.bincount(outline.labels[is_tested], minlength=len(names))
    return [
        {"name": name, "train": int(train[i]), "test": int(test[i])}
        for i, name in enumerate(names[:MOST_NAMES])
    ]


def _folds(contract: Contract, outline: Outline, folds: NDArray[np.int64]) -> list[dict[str, Any]]:
    names = contract.dataset_schema.classes
    found = []
    for fold in range(int(folds.max()) + 1):
        rows = folds == fold
        labels = outline.labels[rows]
        groups = None if outline.groups is None else len(np.unique(outline.groups[rows]))
        counts = np.bincount(labels[labels >= 0], minlength=len(names))
        found.append(
            {
                "fold": fold,
                "sequences": int(rows.sum()),
                "groups": groups,
                "classes": [int(count) for count in counts[:MOST_NAMES]],
            }
        )
    return found


def _groups(outline: Outline) -> dict[str, int] | None:
    if outline.groups is None:
        return None
    sizes = np.unique(outline.groups, return_counts=True)[1]
    return {
        "count": len(sizes),
        "smallest": int(sizes.min()) if len(sizes) else 0,
        "largest": int(sizes.max()) if len(sizes) else 0,
    }
