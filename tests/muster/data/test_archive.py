from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from muster.data.archive import pack, unpack
from muster.data.dataset import Dataset
from muster.errors import UserError

Make = Callable[..., Dataset]
quick = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def assert_same(one: Dataset, other: Dataset) -> None:
    for name in ("values", "offsets", "static", "labels", "groups", "is_test"):
        mine, theirs = getattr(one, name), getattr(other, name)
        assert (mine is None) == (theirs is None)
        if mine is not None:
            np.testing.assert_array_equal(mine, theirs)
            assert mine.dtype == theirs.dtype
    assert (one.name, one.schema, one.identifiers) == (other.name, other.schema, other.identifiers)


@quick
@given(
    seed=st.integers(0, 2**32 - 1),
    has_groups=st.booleans(),
    names=st.lists(st.text(), min_size=12, max_size=12),
)
def test_unpacking_gives_back_what_was_packed(
    make_dataset: Make, seed: int, has_groups: bool, names: list[str]
) -> None:
    groups = np.arange(12) % 4 if has_groups else None
    dataset = make_dataset(seed=seed, groups=groups, identifiers=tuple(names))
    assert_same(unpack(pack(dataset)), dataset)


def test_the_same_dataset_gives_the_same_bytes(make_dataset: Make) -> None:
    assert pack(make_dataset()) == pack(make_dataset())


@quick
@given(data=st.data())
def test_a_damaged_archive_is_refused_or_gives_the_same(
    make_dataset: Make, data: st.DataObject
) -> None:
    dataset = make_dataset()
    whole = bytearray(pack(dataset))
    position = data.draw(st.integers(0, len(whole) - 1))
    whole[position] ^= data.draw(st.integers(1, 255))
    try:
        read = unpack(bytes(whole))
    except UserError:
        return
    assert_same(read, dataset)


@pytest.mark.parametrize("cut", [0, 1, 100, -1])
def test_a_cut_archive_is_refused(make_dataset: Make, cut: int) -> None:
    with pytest.raises(UserError, match="damaged dataset archive"):
        unpack(pack(make_dataset())[:cut])


def _rewritten(whole: bytes, name: str, content: bytes | None) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(whole)) as old, zipfile.ZipFile(buffer, "w") as new:
        for member in old.namelist():
            if member != name:
                new.writestr(member, old.read(member))
        if content is not None:
            new.writestr(name, content)
    return buffer.getvalue()


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("labels.npy", None),
        ("labels.npy", _npy(np.zeros(3, dtype=np.int64))),
        ("labels.npy", _npy(np.full(12, 9, dtype=np.int64))),
        ("labels.npy", _npy(np.zeros(12, dtype=np.int32))),
        ("labels.npy", _npy(np.array([{}] * 12, dtype=object))),
        ("labels.npy", b"no array"),
        ("dataset.json", b"{"),
        ("dataset.json", b"{}"),
        ("dataset.json", json.dumps({"format": 9}).encode()),
    ],
)
def test_content_that_does_not_fit_together_is_refused(
    make_dataset: Make, name: str, content: bytes | None
) -> None:
    with pytest.raises(UserError, match="damaged dataset archive"):
        unpack(_rewritten(pack(make_dataset()), name, content))
