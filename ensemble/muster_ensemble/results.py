"""A bundle in the folder of a search's results, with what it predicts."""

from __future__ import annotations

from pathlib import Path

from muster.data.dataset import Dataset
from muster_ensemble.bundle import Bundle, write_bundle
from muster_ensemble.predict import load, write_predictions

BUNDLE = "bundle"
PREDICTIONS = "predictions.csv"


def leave_bundle(out: Path, bundle: Bundle, dataset: Dataset) -> None:
    """Write the bundle, and its predictions of the dataset's test part where there is one.

    Predictions that another bundle left in the folder go: they would be taken for this one's.
    Raises UserError as write_bundle does.
    """
    write_bundle(out / BUNDLE, bundle)
    (out / PREDICTIONS).unlink(missing_ok=True)
    if not len(dataset.test_index):
        return
    # Predicted by the bundle itself, not by the stored probabilities, which are rounded.
    scores = load(out / BUNDLE).predict_proba(dataset, index=dataset.test_index)
    identifiers = [dataset.identifiers[position] for position in dataset.test_index]
    write_predictions(out / PREDICTIONS, dataset.schema, identifiers, scores)
