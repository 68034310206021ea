"""From the parts that readers yield to one dataset: classes, vocabularies, groups, checks."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from muster.data.cleaning import fill_missing
from muster.data.dataset import UNLABELLED, Dataset
from muster.data.description import Description
from muster.data.part import Part, Texts
from muster.data.schema import Schema, StaticColumn
from muster.errors import UserError

log = logging.getLogger(__name__)


def assemble(description: Description, train: Part, test: Part | None) -> Dataset:
    """One dataset of the training part and the test part, both read and cleaned alike."""
    parts = [train] if test is None else [train, test]
    for part in parts:
        _check_identifiers(part)
    _check_channels(train)
    steps = description.steps or train.steps
    schema = Schema(
        channels=train.channels,
        static=tuple(
            _static_column(name, train.static[name]) for name in description.columns.static
        ),
        classes=_classes(description, train),
        description=description.model_copy(update={"steps": steps}).model_dump(mode="json"),
        identifier_column=description.identifier_column,
        label_column=description.label_column,
    )
    dataset = _encode(description, schema, parts, is_test=[False, True])
    _report(dataset)
    return dataset


def assemble_input(description: Description, schema: Schema, part: Part) -> Dataset:
    """New data as a dataset that is all test part, without labels."""
    _check_identifiers(part)
    for name in _all_missing(part):
        log.warning("%s: channel %s holds no value; the training mean stands in", part.path, name)
    return _encode(description, schema, [part], is_test=[True])


def sort_labels(labels: Sequence[str]) -> tuple[str, ...]:
    """Labels without repetition in their one order: numbers numerically, text alphabetically."""
    unique = sorted(set(labels))
    try:
        numbers = {label: float(label) for label in unique}
    except ValueError:
        return tuple(unique)
    if not all(map(math.isfinite, numbers.values())):
        return tuple(unique)
    return tuple(sorted(unique, key=lambda label: (numbers[label], label)))


def _encode(
    description: Description, schema: Schema, parts: list[Part], *, is_test: list[bool]
) -> Dataset:
    lengths = np.concatenate([part.lengths for part in parts])
    values = np.concatenate([part.values for part in parts]).astype(np.float32, copy=False)
    sizes = [len(part.identifiers) for part in parts]
    static = [_static(schema, part) for part in parts]
    return Dataset(
        name=description.name,
        schema=schema,
        values=fill_missing(values, lengths, method=description.missing),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        static=np.concatenate(static),
        labels=np.concatenate([_codes(schema, part) for part in parts]),
        groups=None if is_test[0] else _groups(parts),
        is_test=np.repeat(is_test[: len(parts)], sizes).astype(np.bool_),
        identifiers=tuple(name for part in parts for name in part.identifiers),
    )


def _check_identifiers(part: Part) -> None:
    index = pd.Index(part.identifiers)
    twice = index[index.duplicated()]
    if len(twice):
        raise UserError(f"{part.path}: identifier {twice[0]} names two sequences; rename one")


def _check_channels(part: Part) -> None:
    empty = _all_missing(part)
    if empty:
        raise UserError(
            f"{part.path}: no value at all in channel {', '.join(empty)}; mend the file or name "
            "it under [columns] exclude"
        )


def _all_missing(part: Part) -> list[str]:
    missing = np.isnan(part.values).all(axis=0)
    return [part.channels[position] for position in np.flatnonzero(missing)]


def _classes(description: Description, train: Part) -> tuple[str, ...]:
    found = sort_labels([label for label in pd.unique(train.labels) if label != ""])
    if not found:
        raise UserError(f"{train.path}: not one training sequence has a label; mend the labels")
    if description.classes is None:
        return found
    unknown = [label for label in found if label not in description.classes]
    if unknown:
        raise UserError(
            f"{train.path}: labels {', '.join(unknown)} are not among classes = "
            f"{list(description.classes)}; add them to the dataset file or mend the labels"
        )
    return description.classes


def _codes(schema: Schema, part: Part) -> NDArray[np.int64]:
    codes = pd.Index(schema.classes).get_indexer(pd.Index(part.labels))
    unknown = np.flatnonzero((codes < 0) & (part.labels != ""))
    if unknown.size:
        raise UserError(
            f"{part.path}: sequence {part.identifiers[unknown[0]]} has the label "
            f"{part.labels[unknown[0]]!r}, which no training sequence has; mend the labels"
        )
    return np.where(codes < 0, UNLABELLED, codes).astype(np.int64)


def _groups(parts: list[Part]) -> NDArray[np.int64] | None:
    """Codes in the order of the group's texts; -1 where the test part names none."""
    train = parts[0]
    if train.groups is None:
        return None
    without = np.flatnonzero((train.groups == "") & (train.labels != ""))
    if without.size:
        raise UserError(
            f"{train.path}: sequence {train.identifiers[without[0]]} has no group; every labelled "
            "training sequence needs one, or strike group from [columns]"
        )
    texts = [
        part.groups
        if part.groups is not None
        else np.full(len(part.identifiers), "", dtype=object)
        for part in parts
    ]
    together = np.concatenate(texts)
    known = pd.Index(sort_labels([text for text in pd.unique(together) if text != ""]))
    return known.get_indexer(pd.Index(together)).astype(np.int64)


def _static_column(name: str, texts: Texts) -> StaticColumn:
    """A number where every text is one (or missing), else a text with its vocabulary."""
    known = sort_labels([text for text in pd.unique(texts) if text != ""])
    numbers = pd.to_numeric(pd.Series(known, dtype=object), errors="coerce")
    if known and bool(np.isfinite(numbers.to_numpy(dtype=np.float64)).all()):
        return StaticColumn(name=name)
    return StaticColumn(name=name, vocabulary=known)


def _static(schema: Schema, part: Part) -> NDArray[np.float32]:
    features = np.zeros((len(part.identifiers), schema.static_features), dtype=np.float32)
    position = 0
    for column in schema.static:
        place = slice(position, position + column.width)
        features[:, place] = _features(column, part)
        position += column.width
    return features


def _features(column: StaticColumn, part: Part) -> NDArray[np.float32]:
    """(sequences, column.width); a text that training never saw, or none, becomes all zeros."""
    texts = part.static[column.name]
    if column.vocabulary is not None:
        unseen = sorted(
            {text for text in pd.unique(texts) if text not in {"", *column.vocabulary}}
        )
        if unseen:
            log.warning(
                "%s: static column %s holds %s, never seen in training: all zeros",
                part.path,
                column.name,
                ", ".join(unseen),
            )
        vocabulary = np.array(column.vocabulary, dtype=object)
        return np.asarray(texts[:, None] == vocabulary[None, :], dtype=np.float32)
    numbers = pd.to_numeric(pd.Series(texts).where(texts != ""), errors="coerce")
    values = numbers.to_numpy(dtype=np.float64)
    bad = np.flatnonzero((np.isnan(values) & (texts != "")) | np.isinf(values))
    if bad.size:
        raise UserError(
            f"{part.path}: static column {column.name} holds {texts[bad[0]]!r} for sequence "
            f"{part.identifiers[bad[0]]}, where training has numbers; mend the value"
        )
    return values.astype(np.float32)[:, None]


def _report(dataset: Dataset) -> None:
    unlabelled = int(np.count_nonzero((dataset.labels == UNLABELLED) & ~dataset.is_test))
    if unlabelled:
        log.warning("%s: %d training sequences without a label", dataset.name, unlabelled)
