from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from muster.data.dataset import UNLABELLED, Dataset
from muster.data.description import parse_description
from muster.data.readers import read_dataset, read_input
from muster.errors import UserError

CUBE = np.arange(24, dtype=np.float64).reshape(3, 2, 4)
ARRAYS: dict[str, Any] = {"X": CUBE, "y": np.array([10, 9, 10])}


def read(folder: Path, arrays: dict[str, Any], **columns: Any) -> Dataset:
    np.savez(folder / "data.npz", **arrays)
    content = {
        "name": "cubes",
        "format": "npz",
        "train": {"values": "data.npz"},
        "columns": {"label": "y", **columns},
    }
    return read_dataset(parse_description(content, where="cubes.toml"), base=folder)


def test_an_array_of_channels_first_is_laid_end_to_end(tmp_path: Path) -> None:
    dataset = read(tmp_path, ARRAYS)
    assert dataset.schema.channels == ("channel_0", "channel_1")
    np.testing.assert_array_equal(dataset.values[:4], CUBE[0].T)
    assert dataset.schema.classes == ("9", "10")


def test_steps_first_and_one_channel_are_read_too(tmp_path: Path) -> None:
    arrays = {**ARRAYS, "X": CUBE.transpose(0, 2, 1)}
    turned = read(tmp_path, arrays, layout="steps_first", channels=["a", "b"], exclude=["a"])
    np.testing.assert_array_equal(turned.values[:4, 0], CUBE[0, 1])
    flat = read(tmp_path, {**ARRAYS, "X": CUBE[:, 0]})
    assert flat.values.shape == (12, 1)


def test_groups_lengths_statics_and_identifiers_are_arrays(tmp_path: Path) -> None:
    arrays = {
        **ARRAYS,
        "y": np.array([0.0, 1.0, np.nan]),
        "who": np.array(["b", "a", "b"]),
        "n": np.array([4, 1, 2]),
        "age": np.array([40.5, 41, 42]),
        "id": np.array(["000", "001", "002"]),
    }
    dataset = read(tmp_path, arrays, group="who", lengths="n", static=["age"], identifier="id")
    assert dataset.lengths.tolist() == [4, 1, 2]
    np.testing.assert_array_equal(dataset.values[4], CUBE[1, :, 0])
    assert dataset.groups is not None and dataset.groups.tolist() == [1, 0, 1]
    assert dataset.static[:, 0].tolist() == [40.5, 41, 42]
    assert dataset.identifiers == ("000", "001", "002")
    assert dataset.labels.tolist() == [0, 1, UNLABELLED]


def test_new_input_needs_the_channels_and_no_labels(tmp_path: Path) -> None:
    schema = read(tmp_path, ARRAYS).schema
    np.savez(tmp_path / "new.npz", X=CUBE[:1])
    assert read_input(schema, tmp_path / "new.npz").labels.tolist() == [UNLABELLED]
    np.savez(tmp_path / "new.npz", X=CUBE[:1, :1])
    with pytest.raises(UserError, match="lacks channel_1"):
        read_input(schema, tmp_path / "new.npz")


@pytest.mark.parametrize(
    ("change", "columns", "expected"),
    [
        ({"X": np.zeros(3)}, {}, r"array X has shape \(3,\)"),
        ({"X": np.zeros((0, 2, 4))}, {}, "at least one value"),
        ({"X": np.full((3, 4), "a")}, {}, "not numbers"),
        ({"X": np.full((3, 4), np.inf)}, {}, "sequence 0, channel 0, step 0: infinite"),
        ({"y": np.zeros(2)}, {}, r"array y has shape \(2,\)"),
        ({"n": np.array([1, 2, 9])}, {"lengths": "n"}, "between 1 and 4"),
        ({}, {"label": "target"}, "missing column target; the file has X, y"),
        ({}, {"channels": ["a"]}, "has 2 channels where 1 are named"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    tmp_path: Path, change: dict[str, Any], columns: dict[str, Any], expected: str
) -> None:
    with pytest.raises(UserError, match=expected):
        read(tmp_path, {**ARRAYS, **change}, **columns)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", b"text"])
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes) -> None:
    schema = read(tmp_path, ARRAYS).schema
    (tmp_path / "bad.npz").write_bytes(content)
    with pytest.raises(UserError, match=r"bad\.npz"):
        read_input(schema, tmp_path / "bad.npz")


def test_pickled_arrays_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"not a sound \.npz file"):
        read(tmp_path, {"X": np.array([{}, 1], dtype=object), "y": np.zeros(2)})


def test_a_lone_array_is_refused(tmp_path: Path) -> None:
    schema = read(tmp_path, ARRAYS).schema
    with (tmp_path / "lone.npz").open("wb") as file:
        np.save(file, CUBE)
    with pytest.raises(UserError, match=r"lone\.npz"):
        read_input(schema, tmp_path / "lone.npz")
