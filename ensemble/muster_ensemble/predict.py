"""A bundle applied to new data; needs neither Optuna nor a database."""

from __future__ import annotations

import csv
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np
import torch
from numpy.typing import NDArray

from muster.data.dataset import Dataset
from muster.data.readers import read_input
from muster.data.schema import Schema
from muster.data.streaming import NUMBERS, Scattered, stream_input
from muster.errors import UserError
from muster.fold_model import FoldModel
from muster.models.base import InputShape
from muster.voting import decide, vote
from muster_ensemble.bundle import Bundle, Member, read_bundle
from muster_ensemble.files import appearing
from muster_ensemble.frames import Data, Static, as_dataset
from muster_ensemble.storage import MEND

log = logging.getLogger(__name__)
Told = Callable[[int], None]


@dataclass(frozen=True)
class Predictor:
    """An ensemble in memory, which predicts as scikit-learn's classifiers do.

    members: the fold models of each member. numbers: of input values that are worked on at once.
    """

    bundle: Bundle
    members: tuple[tuple[FoldModel, ...], ...]
    device: torch.device
    numbers: int = NUMBERS

    @property
    def schema(self) -> Schema:
        """What new data must look like."""
        return self.bundle.schema

    @property
    def classes_(self) -> NDArray[np.str_]:
        """(classes,) the labels, in the order of predict_proba's columns."""
        return np.asarray(self.schema.classes, dtype=np.str_)

    def predict_proba(
        self,
        data: Data,
        *,
        static: Static | None = None,
        index: NDArray[np.int64] | None = None,
    ) -> NDArray[np.float64]:
        """(sequences, classes) scores of the vote, for all sequences or those of index.

        data, static: as frames.as_dataset takes them. Rows sum to 1, in the order of the
        sequences' first rows. A member's probabilities are the mean over its fold models. Raises
        UserError where the channels or static columns are not the schema's.
        """
        dataset = as_dataset(self.schema, data, static)
        _refuse_another_shape(self.schema, dataset)
        chosen = np.arange(len(dataset), dtype=np.int64) if index is None else index
        scores = np.zeros((len(chosen), len(self.schema.classes)))
        for first, end in _blocks(dataset.lengths[chosen] * dataset.values.shape[1], self.numbers):
            scores[first:end] = self._vote(self.member_proba(dataset, chosen[first:end]))
        return scores

    def predict(
        self,
        data: Data,
        *,
        static: Static | None = None,
        index: NDArray[np.int64] | None = None,
    ) -> NDArray[np.str_]:
        """(sequences,) the labels as texts; otherwise as predict_proba."""
        return labels(self.schema, self.predict_proba(data, static=static, index=index))

    def member_proba(self, dataset: Dataset, index: NDArray[np.int64]) -> NDArray[np.float64]:
        """(members, len(index), classes) probabilities, the mean over each one's fold models."""
        each = [
            np.mean(
                [fold.predict_proba(dataset, index, device=self.device) for fold in folds],
                axis=0,
                dtype=np.float64,
            )
            for folds in self.members
        ]
        return np.stack(each)

    def out_of_fold(self, dataset: Dataset, folds: NDArray[np.int64]) -> NDArray[np.float64]:
        """(sequences, classes) scores, each by the models of the fold that held it out.

        folds: (sequences,) fold numbers; rows of -1 stay NaN. Raises UserError where a member has
        not one model a fold.
        """
        count = int(folds.max(initial=-1)) + 1
        if any(len(models) != count for models in self.members):
            raise UserError(f"the bundle's members have not one model for each of {count} folds")
        scores = np.full((len(dataset), len(self.schema.classes)), np.nan)
        for fold in range(count):
            index = np.flatnonzero(folds == fold)
            each = [
                models[fold].predict_proba(dataset, index, device=self.device)
                for models in self.members
            ]
            scores[index] = self._vote(np.stack(each).astype(np.float64))
        return scores

    def _vote(self, probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
        return vote(
            probabilities,
            rule=self.bundle.rule,
            weights=self.bundle.weights,
            temperatures=self.bundle.temperatures,
            factors=self.bundle.factors,
        )


def load(path: Path | str, *, device: torch.device | str | None = None) -> Predictor:
    """The bundle in that folder or .zip, checked and ready; on a GPU where there is one.

    Raises UserError, which names the file, for whatever is wrong with it.
    """
    place = Path(path)
    bundle = read_bundle(place)
    chosen = ("cuda" if torch.cuda.is_available() else "cpu") if device is None else device
    return Predictor(
        bundle=bundle,
        members=tuple(_load_member(place, bundle.schema, member) for member in bundle.members),
        device=torch.device(chosen),
    )


def _silent(count: int) -> None:
    """Nobody wants to know."""


def predict_file(
    bundle: Path,
    input_path: Path,
    out: Path,
    *,
    proba: bool = False,
    told: Told = _silent,
    numbers: int = NUMBERS,
) -> int:
    """Predict the sequences of input_path into the CSV file out; returns how many there are.

    The input is read in pieces of about so many numbers and may be larger than memory. The rows
    are the input's, in its order; the file appears whole. told: is called with the count so far.
    """
    predictor = load(bundle)
    schema = predictor.schema
    try:
        with appearing(out) as stream:
            pieces = stream_input(schema, input_path, numbers=numbers)
            return _predict_into(stream, predictor, pieces, proba=proba, told=told)
    except Scattered:
        log.warning(
            "%s: rows of a sequence are apart, so the whole file is read into memory; sorted by "
            "sequence it is read in pieces",
            input_path,
        )
    with appearing(out) as stream:
        whole = [read_input(schema, input_path)]
        return _predict_into(stream, predictor, whole, proba=proba, told=told)


def _predict_into(
    stream: TextIO, predictor: Predictor, pieces: Iterable[Dataset], *, proba: bool, told: Told
) -> int:
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(_header(predictor.schema, proba=proba))
    count = 0
    for dataset in pieces:
        scores = predictor.predict_proba(dataset)
        writer.writerows(_rows(predictor.schema, dataset.identifiers, scores, proba=proba))
        count += len(dataset)
        told(count)
    return count


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
    with appearing(out) as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(_header(schema, proba=proba))
        writer.writerows(_rows(schema, identifiers, scores, proba=proba))


def _header(schema: Schema, *, proba: bool) -> list[str]:
    shares = [f"probability_{name}" for name in schema.classes] if proba else []
    return [schema.identifier_column, schema.label_column, *shares]


def _rows(
    schema: Schema, identifiers: Sequence[str], scores: NDArray[np.float64], *, proba: bool
) -> Iterator[list[str]]:
    decided = labels(schema, scores)
    for identifier, label, row in zip(identifiers, decided, scores, strict=True):
        shares = [f"{share:.6f}" for share in row] if proba else []
        yield [identifier, label, *shares]


def labels(schema: Schema, scores: NDArray[np.float64]) -> NDArray[np.str_]:
    """(sequences,) class texts of the (sequences, classes) scores."""
    return np.asarray(schema.classes, dtype=np.str_)[decide(scores)]


def _blocks(sizes: NDArray[np.int64], most: int) -> Iterator[tuple[int, int]]:
    """(first, end) of runs that hold at most so much together, or a single one that is larger."""
    ends = np.cumsum(sizes)
    first = 0
    while first < len(sizes):
        before = int(ends[first - 1]) if first else 0
        end = max(first + 1, int(np.searchsorted(ends, before + most, side="right")))
        yield first, end
        first = end


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
