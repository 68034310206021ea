"""Channel selection and scaling, fitted on a fold's training part alone."""

from __future__ import annotations

from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, FiniteFloat, ValidationError

from muster.data.dataset import Dataset
from muster.data.scaling import CENTRES, centre_and_scale, mean, per_sequence
from muster.data.selection import rows_of
from muster.errors import UserError

Normalise = Literal["standard", "min_max", "robust", "per_sequence", "none"]
Floats = tuple[FiniteFloat, ...]


class Preprocessor(BaseModel):
    """Which channels are kept and how they and the static features are scaled.

    kept: positions of the channels. fill: what stands in for a missing value, the training mean
    (per_sequence: the sequence's own), so that it is 0 wherever the scaling centres on the mean.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    normalise: Normalise
    kept: tuple[int, ...]
    fill: Floats
    centre: Floats
    scale: Floats
    static_fill: Floats
    static_centre: Floats
    static_scale: Floats

    @classmethod
    def fit(cls, dataset: Dataset, index: NDArray[np.int64], *, normalise: str) -> Self:
        """Fitted on the sequences at index and on nothing else.

        drop_constant and drop_correlated of the dataset's description choose the channels;
        UserError where they leave none.
        """
        if normalise not in {*CENTRES, "per_sequence"}:
            raise UserError(
                f"normalise = {normalise!r}: choose {', '.join([*CENTRES, 'per_sequence'])}"
            )
        index = np.asarray(index, dtype=np.int64)
        values = dataset.values[rows_of(dataset.offsets, index)].astype(np.float64)
        kept = _kept(values, dataset)
        values = values[:, kept]
        is_own = normalise == "per_sequence"
        centre, scale = centre_and_scale(values, "none" if is_own else normalise)
        static = dataset.static[index].astype(np.float64)
        is_number = _is_number(dataset)
        static_centre, static_scale = centre_and_scale(static, "standard" if is_own else normalise)
        fitted = {
            "fill": mean(values),
            "centre": centre,
            "scale": scale,
            "static_fill": np.where(is_number, mean(static), 0.0),
            "static_centre": np.where(is_number, static_centre, 0.0),
            "static_scale": np.where(is_number, static_scale, 1.0),
        }
        numbers = {name: array.tolist() for name, array in fitted.items()}
        return cls.model_validate({"normalise": normalise, "kept": kept.tolist(), **numbers})

    def transform(
        self, dataset: Dataset, index: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]:
        """(values, lengths, static) of the sequences at index, in its order, free of NaN.

        values: (sum of lengths, kept channels). lengths: (n,). static: (n, features).
        """
        index = np.asarray(index, dtype=np.int64)
        lengths = dataset.lengths[index]
        rows = dataset.values[rows_of(dataset.offsets, index)][:, list(self.kept)]
        if self.normalise == "per_sequence":
            values = per_sequence(rows.astype(np.float64), lengths)
        else:
            values = _scaled(rows, self.fill, self.centre, self.scale)
        static = _scaled(
            dataset.static[index], self.static_fill, self.static_centre, self.static_scale
        )
        return values.astype(np.float32), lengths, static.astype(np.float32)

    def to_json(self) -> dict[str, Any]:
        """Plain data for JSON; from_json makes the same preprocessor of it, to the bit."""
        return self.model_dump(mode="json")

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """The preprocessor that to_json described; UserError where content is something else."""
        try:
            made = cls.model_validate(content)
        except ValidationError as error:
            raise UserError(f"damaged preprocessor ({error}); export the model again") from error
        channels = {len(made.kept), len(made.fill), len(made.centre), len(made.scale)}
        features = {len(made.static_fill), len(made.static_centre), len(made.static_scale)}
        if len(channels) != 1 or len(features) != 1 or min(made.kept, default=-1) < 0:
            raise UserError("damaged preprocessor (lengths differ); export the model again")
        return made


def _scaled(
    values: NDArray[np.float32], fill: Floats, centre: Floats, scale: Floats
) -> NDArray[np.float64]:
    filled = np.where(np.isnan(values), np.array(fill), values)
    return np.asarray((filled - np.array(centre)) / np.array(scale), dtype=np.float64)


def _is_number(dataset: Dataset) -> NDArray[np.bool_]:
    """(features,) which static features are numbers; one-hot features stay 0 and 1."""
    columns = dataset.schema.static
    return np.repeat(
        np.array([column.vocabulary is None for column in columns], dtype=np.bool_),
        [column.width for column in columns],
    )


def _kept(values: NDArray[np.float64], dataset: Dataset) -> NDArray[np.int64]:
    description = dataset.schema.description
    kept = np.arange(values.shape[1], dtype=np.int64)
    if description.get("drop_constant"):
        highest = np.fmax.reduce(values, axis=0)
        lowest = np.fmin.reduce(values, axis=0)
        kept = kept[highest > lowest]
    limit = description.get("drop_correlated")
    if limit is not None and len(kept) > 1:
        kept = kept[_uncorrelated(values[:, kept], float(limit))]
    if not len(kept):
        raise UserError(
            f"{dataset.name}: every channel is constant in the training part; "
            "strike drop_constant or mend the data"
        )
    return kept


def _uncorrelated(values: NDArray[np.float64], limit: float) -> list[int]:
    """Channels whose correlation with each kept earlier one is below limit."""
    centred = np.where(np.isnan(values), 0.0, values - mean(values))
    norms = np.sqrt((centred**2).sum(axis=0))
    safe = np.where(norms > 0.0, norms, 1.0)
    correlation = np.abs((centred / safe).T @ (centred / safe))
    kept: list[int] = []
    for channel in range(values.shape[1]):
        if not kept or correlation[channel, kept].max() < limit:
            kept.append(channel)
    return kept
