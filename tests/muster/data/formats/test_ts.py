from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from muster.data.dataset import UNLABELLED, Dataset
from muster.data.description import load_description, parse_description
from muster.data.formats.ts import bundled
from muster.data.readers import read_dataset, read_input
from muster.errors import UserError

pytest.importorskip("aeon")

HEAD = "@problemName walks\n@timeStamps false\n@univariate false\n@equalLength false\n"
HEAD += "@classLabel true 1 2\n"


def read(folder: Path, text: str, **columns: object) -> Dataset:
    (folder / "walks.ts").write_text(text)
    content = {
        "name": "walks",
        "format": "ts",
        "train": {"values": "walks.ts"},
        "columns": columns,
    }
    return read_dataset(parse_description(content, where="walks.toml"), base=folder)


def test_japanese_vowels_come_with_aeon(example: Callable[[str], Path], tmp_path: Path) -> None:
    dataset = read_dataset(load_description(example("japanese_vowels")), base=tmp_path)
    assert dataset.values.shape[1] == 12
    assert (len(dataset.train_index), len(dataset.test_index)) == (270, 370)
    assert (dataset.labels != UNLABELLED).all()
    assert (dataset.lengths.min(), dataset.lengths.max()) == (7, 29)
    assert dataset.schema.classes == tuple("123456789")
    assert dataset.values[0, 0] == np.float32(1.860936)
    assert dataset.values[1, 0] == np.float32(1.891651)


def test_new_input_is_read_like_the_training_file(
    example: Callable[[str], Path], tmp_path: Path
) -> None:
    dataset = read_dataset(load_description(example("japanese_vowels")), base=tmp_path)
    again = read_input(dataset.schema, bundled("JapaneseVowels")[1])
    assert (again.labels == UNLABELLED).all()
    assert len(again.test_index) == 370
    start = dataset.offsets[270]
    np.testing.assert_array_equal(again.values, dataset.values[start:])


def test_cases_of_different_lengths_with_gaps_are_read(tmp_path: Path) -> None:
    dataset = read(tmp_path, HEAD + "@data\n1,2,?:4,5,6:2\n1:9:1\n", channels=["x", "y"])
    assert dataset.lengths.tolist() == [3, 1]
    np.testing.assert_array_equal(dataset.values, [[1, 4], [2, 5], [np.nan, 6], [1, 9]])
    assert dataset.labels.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "empty"),
        ("1,2,3\n", "no @data line"),
        (HEAD + "@data\n", "no case after @data"),
        (HEAD + "@data\n1,2:3,x:1\n", "not a sound .ts file"),
        (HEAD + "@data\n1,2:3:1\n", "not a sound .ts file"),
        (HEAD.replace("@timeStamps false", "@timeStamps true") + "@data\n", "time stamps"),
        (HEAD.replace("@classLabel true 1 2", "@targetLabel true") + "@data\n", "regression"),
    ],
)
def test_broken_files_are_refused(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        read(tmp_path, text)


def test_input_that_lacks_a_channel_is_refused(tmp_path: Path) -> None:
    schema = read(tmp_path, HEAD + "@data\n1,2:3,4:1\n1:2:2\n").schema
    (tmp_path / "new.ts").write_text(HEAD + "@data\n1,2:1\n")
    with pytest.raises(UserError, match=r"new\.ts: has 1 channels; it lacks channel_1"):
        read_input(schema, tmp_path / "new.ts")


def test_a_dataset_that_aeon_does_not_bundle_is_refused(tmp_path: Path) -> None:
    description = parse_description({"name": "a", "source": "aeon:Nowhere"}, where="a.toml")
    with pytest.raises(UserError, match=r"aeon bundles .*BasicMotions.*JapaneseVowels"):
        read_dataset(description, base=tmp_path)
