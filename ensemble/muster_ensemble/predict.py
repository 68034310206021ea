"""A bundle applied to new data; needs neither Optuna nor a database."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from muster.data.dataset import Dataset
from muster.data.readers import read_input
from muster.data.schema import Schema
from muster.errors import UserError
from muster.fold_model import FoldModel
from muster.models.base import InputShape
from muster.voting import decide, vote
from muster_ensemble.bundle import MEND, Bundle, Member, read_bundle
from muster_ensemble.files import write_file


@dataclass(frozen=True)
class Predictor:
    """An ensemble in memory. members: the fold models of each member."""

    bundle: Bundle
    members: tuple[tuple[FoldModel, ...], ...]
    device: torch.device

    @property
    def schema(self) -> Schema:
        """What new data must look like."""
        return self.bundle.schema

    def predict_proba(
        self, dataset: Dataset, *, index: NDArray[np.int64] | None = None
    ) -> NDArray[np.float64]:
        """(sequences, classes) scores of the vote, for all sequences or those of index.

        A member's probabilities are the mean over its fold models. Raises UserError when the
        dataset's channels or static columns are not the schema's.
        """
        _refuse_another_shape(self.schema, dataset)
        chosen = np.arange(len(dataset), dtype=np.int64) if index is None else index
        if len(chosen) == 0:
            return np.zeros((0, len(self.schema.classes)))
        return vote(
            np.stack([self._member(folds, dataset, chosen) for folds in self.members]),
            rule=self.bundle.rule,
            weights=self.bundle.weights,
            temperatures=self.bundle.temperatures,
            factors=self.bundle.factors,
        )

    def predict(
        self, dataset: Dataset, *, index: NDArray[np.int64] | None = None
    ) -> NDArray[np.str_]:
        """(sequences,) the labels as texts, for all sequences or those of index."""
        return labels(self.schema, self.predict_proba(dataset, index=index))

    def _member(
        self, folds: Sequence[FoldModel], dataset: Dataset, index: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        each = [fold.predict_proba(dataset, index, device=self.device) for fold in folds]
        mean: NDArray[np.float64] = np.mean(each, axis=0, dtype=np.float64)
        return mean


def load(path: Path, *, device: torch.device | None = None) -> Predictor:
    """The bundle in that folder, checked and ready; on the CPU unless a device is named.

    Raises UserError, which names the file, for whatever is wrong with it.
    """
    bundle = read_bundle(path)
    return Predictor(
        bundle=bundle,
        members=tuple(_load_member(path, bundle.schema, member) for member in bundle.members),
        device=torch.device("cpu") if device is None else device,
    )


def predict_file(bundle: Path, input_path: Path, out: Path, *, proba: bool = False) -> int:
    """Predict the sequences of input_path into the CSV file out; returns how many there are.

    The rows are the input's, in its order; the file appears whole.
    """
    predictor = load(bundle)
    dataset = read_input(predictor.schema, input_path)
    scores = predictor.predict_proba(dataset)
    write_predictions(out, predictor.schema, dataset.identifiers, scores, proba=proba)
    return len(dataset)


def write_predictions(
    out: Path,
    schema: Schema,
    identifiers: Sequence[str],
    scores: NDArray[np.float64],
    *,
    proba: bool = False,
) -> None:
    """Write identifier and label, and with proba a `probability_<class>` column a class.

    scores: (sequences, classes) as predict_proba gives them, a row an identifier.
    """
    header = [schema.identifier_column, schema.label_column]
    if proba:
        header += [f"probability_{name}" for name in schema.classes]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    decided = labels(schema, scores)
    for identifier, label, row in zip(identifiers, decided, scores, strict=True):
        shares = [f"{share:.6f}" for share in row] if proba else []
        writer.writerow([identifier, label, *shares])
    write_file(out, text.getvalue().encode())


def labels(schema: Schema, scores: NDArray[np.float64]) -> NDArray[np.str_]:
    """(sequences,) class texts of the (sequences, classes) scores."""
    return np.asarray(schema.classes, dtype=np.str_)[decide(scores)]


def _load_member(path: Path, schema: Schema, member: Member) -> tuple[FoldModel, ...]:
    shape = InputShape(len(schema.channels), schema.static_features, len(schema.classes))
    models = []
    for fold, data in enumerate(member.folds):
        place = path / f"members/{member.number}/fold{fold}.safetensors"
        try:
            model = FoldModel.from_bytes(data)
        except UserError as fault:
            raise UserError(f"{place}: {fault}; {MEND}") from fault
        if model.shape != shape:
            raise UserError(f"{place}: a model of {model.shape}, the schema says {shape}; {MEND}")
        models.append(model)
    return tuple(models)


def _refuse_another_shape(schema: Schema, dataset: Dataset) -> None:
    ours, theirs = (
        (schema.channels, schema.static),
        (dataset.schema.channels, dataset.schema.static),
    )
    if ours != theirs:
        raise UserError(
            f"dataset {dataset.name}: its channels or static columns are not those that the "
            f"bundle was trained on ({', '.join(schema.channels)}); read it with read_input"
        )
