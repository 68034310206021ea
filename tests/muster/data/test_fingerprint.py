from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from muster.data.archive import pack, unpack
from muster.data.dataset import Dataset
from muster.data.fingerprint import fingerprint

Make = Callable[..., Dataset]


def _with(array: Any, place: Any, value: Any) -> Any:
    changed = array.copy()
    changed[place] = value
    return changed


CHANGES: dict[str, Callable[[Dataset], Dataset]] = {
    "a value": lambda d: replace(d, values=_with(d.values, (5, 1), 7.5)),
    "a missing value": lambda d: replace(
        d, values=_with(d.values, np.nonzero(~np.isnan(d.values)), np.nan)
    ),
    "a label": lambda d: replace(d, labels=_with(d.labels, 3, 0)),
    "groups": lambda d: replace(d, groups=np.zeros(len(d), dtype=np.int64)),
    "a static value": lambda d: replace(d, static=_with(d.static, (2, 2), 1.0)),
    "the part": lambda d: replace(d, is_test=_with(d.is_test, 0, True)),
    "a length": lambda d: replace(d, offsets=_with(d.offsets, 1, d.offsets[1] - 1)),
    "an identifier": lambda d: replace(d, identifiers=("x", *d.identifiers[1:])),
    "a channel name": lambda d: _with_schema(d, channels=("x", "y", "w")),
    "the order of the classes": lambda d: _with_schema(d, classes=("b", "a")),
    "the cleaning": lambda d: _with_schema(d, description={"drop_constant": True}),
    "a static column": lambda d: _with_schema(d, static=d.schema.static[::-1]),
}


def _with_schema(dataset: Dataset, **changes: Any) -> Dataset:
    return replace(dataset, schema=dataset.schema.model_copy(update=changes))


@pytest.mark.parametrize("name", CHANGES)
def test_each_change_of_content_changes_the_fingerprint(name: str, make_dataset: Make) -> None:
    dataset = make_dataset()
    assert fingerprint(CHANGES[name](dataset)) != fingerprint(dataset)


def test_changed_groups_change_the_fingerprint(make_dataset: Make) -> None:
    some = replace(make_dataset(), groups=np.arange(12))
    other = replace(some, groups=np.arange(12)[::-1].copy())
    assert fingerprint(some) != fingerprint(other)


def test_byte_order_nan_and_the_order_of_keys_do_not_matter(make_dataset: Make) -> None:
    dataset = make_dataset(description={"missing": "none", "drop_constant": False})
    other_nan = np.array([0x7FC00001], dtype=np.uint32).view(np.float32)[0]
    values = np.where(np.isnan(dataset.values), other_nan, dataset.values).astype(">f4")
    twin = replace(
        dataset,
        values=np.asfortranarray(values),
        labels=dataset.labels.astype(">i8"),
        offsets=dataset.offsets.astype(np.int32),
    )
    twin = _with_schema(twin, description={"drop_constant": False, "missing": "none"})
    assert fingerprint(twin) == fingerprint(dataset)


def test_where_the_data_lay_does_not_matter(make_dataset: Make) -> None:
    here = make_dataset(description={"train": {"values": "/here"}, "missing": "none"})
    there = make_dataset(description={"train": {"values": "/there"}, "missing": "none"})
    assert fingerprint(here) == fingerprint(there)


def test_an_archive_keeps_the_fingerprint(make_dataset: Make) -> None:
    dataset = make_dataset()
    assert fingerprint(unpack(pack(dataset))) == fingerprint(dataset)


def test_the_fingerprint_is_the_same_on_every_machine(make_dataset: Make) -> None:
    fixed = make_dataset(
        values=np.arange(36, dtype=np.float32).reshape(12, 3),
        offsets=np.arange(13),
        static=np.zeros((12, 3), dtype=np.float32),
    )
    assert fingerprint(fixed) == (
        "4e75c99abb24ad9746ae4a80d78d23a0d59f507832819eae4c71ebbf9efceeb0"
    )
