from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from muster.data.dataset import UNLABELLED, Dataset
from muster.data.description import load_description, parse_description
from muster.data.readers import read_dataset, read_input
from muster.errors import UserError

Read = Callable[..., Dataset]


def test_rows_are_sequences_and_the_last_column_is_the_label(read_wide: Read) -> None:
    dataset = read_wide("1,2,3,10\n4,,6,9\n7,8,9,10\n")
    assert dataset.lengths.tolist() == [3, 3, 3]
    np.testing.assert_array_equal(dataset.values[3:6, 0], [4, np.nan, 6])
    assert dataset.schema.classes == ("9", "10")
    assert dataset.labels.tolist() == [1, 0, 1]
    assert dataset.identifiers == ("0", "1", "2")


ROWS = "".join(f"{row * 0.5},{row + 1},{row % 3},7,{row % 2}\n" for row in range(12))


@pytest.mark.parametrize(
    ("first", "said"),
    [
        ("0,1,2,3,4\n", "line 1 looks like a header"),
        ("0,1,2,3,label\n", "line 1 looks like a header"),
        (",0,1,2,3\n", "line 1 looks like a header"),
        ("t0,t1,t2,t3,label\n", "line 1 looks like a header (t0, t1, t2"),
    ],
    ids=["numbers", "numbers and a name", "beside an index", "names"],
)
def test_a_header_is_told_from_a_sequence(read_wide: Read, first: str, said: str) -> None:
    with pytest.raises(UserError) as refused:
        read_wide(first + ROWS)
    assert said in str(refused.value)
    assert "header=False" in str(refused.value)


def test_an_index_is_told_from_values(read_wide: Read) -> None:
    indexed = "".join(f"{row},{line}\n" for row, line in enumerate(ROWS.splitlines()))
    with pytest.raises(UserError, match=r"first column looks like an index.*index=False"):
        read_wide(indexed)


def test_a_ramp_is_data_where_its_label_is_a_class(read_wide: Read) -> None:
    assert read_wide("0,1,2,up\n2,1,0,down\n1,2,3,up\n").values[:3, 0].tolist() == [0, 1, 2]
    assert read_wide("0.0,1.0,2.0,3\n2,1,0,1\n").values[:3, 0].tolist() == [0, 1, 2]


def test_labels_written_as_floats_are_the_same_classes(read_wide: Read) -> None:
    dataset = read_wide("1,2,0.000e+00\n4,5,1.0\n", test="1,2,0\n1,2,1\n")
    assert dataset.schema.classes == ("0", "1")
    assert dataset.labels.tolist() == [0, 1, 0, 1]


def test_text_labels_are_classes(read_wide: Read) -> None:
    assert read_wide("1,2,walk\n4,5,run\n").schema.classes == ("run", "walk")


def test_several_channels_follow_each_other_in_a_row(read_wide: Read) -> None:
    dataset = read_wide("1,2,3,4,a\n5,6,7,8,b\n", channels=["x", "y"])
    assert dataset.values.tolist() == [[1, 3], [2, 4], [5, 7], [6, 8]]
    only = read_wide("1,2,3,4,a\n5,6,7,8,b\n", channels=["x", "y"], exclude=["x"])
    assert only.values[:, 0].tolist() == [3, 4, 7, 8]


def test_a_test_part_may_lack_the_label_column(read_wide: Read) -> None:
    dataset = read_wide("1,2,3,a\n4,5,6,b\n", test="7,8,9\n")
    assert dataset.labels.tolist() == [0, 1, UNLABELLED]
    assert dataset.values[6:, 0].tolist() == [7, 8, 9]


def test_new_input_may_have_or_lack_the_label_column(read_wide: Read, tmp_path: Path) -> None:
    schema = read_wide("1,2,3,a\n4,5,6,b\n").schema
    for text in ("7,8,9\n", "7,8,9,a\n"):
        (tmp_path / "new.csv").write_text(text)
        dataset = read_input(schema, tmp_path / "new.csv")
        assert dataset.values[:, 0].tolist() == [7, 8, 9]
        assert dataset.labels.tolist() == [UNLABELLED]
    (tmp_path / "new.csv").write_text("7,8\n")
    with pytest.raises(UserError, match="has 2 columns where the training data has 1 channel"):
        read_input(schema, tmp_path / "new.csv")
    with pytest.raises(UserError, match=r"typo\.csv: no such file; mend the path$"):
        read_input(schema, tmp_path / "typo.csv")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "empty"),
        ("\n\n", "empty"),
        ("a,b,label\n1,2,0\n", r"line 1 looks like a header \(a, b"),
        ("1,2,0\n3,x,0\n", "column 1, line 2: 'x' is no number"),
        ("1,2,3,0\n1,2\n", "line 2 has no label, or fewer values"),
        ("1,2,3,0\n1,2,3,4,5\n", "not the table its name says"),
        ("1\n2\n", "1 columns are not 1 channels and a label"),
    ],
)
def test_broken_files_are_refused(read_wide: Read, text: str, expected: str) -> None:
    with pytest.raises(UserError, match=expected) as caught:
        read_wide(text)
    assert "train.csv" in str(caught.value)


def test_a_truncated_gzip_is_refused(tmp_path: Path) -> None:
    rows = "".join(f"{row * 0.37},{row**0.5},{row % 2}\n" for row in range(5000))
    whole = gzip.compress(rows.encode())
    content = {"name": "wide", "format": "wide_csv", "train": {"values": "cut.csv.gz"}}
    description = parse_description(content, where="wide.toml")
    (tmp_path / "cut.csv.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"cut\.csv\.gz: .*fetch"):
        read_dataset(description, base=tmp_path)


def test_a_test_label_that_training_never_had_is_refused(read_wide: Read) -> None:
    with pytest.raises(UserError, match=r"test\.csv: sequence 0 has the label 'c'"):
        read_wide("1,2,a\n3,4,b\n", test="1,2,c\n")


def test_the_example_of_heartbeats_is_read_whole(
    real_data: Path, example: Callable[[str], Path]
) -> None:
    dataset = read_dataset(load_description(example("heartbeat")), base=real_data / "heartbeat")
    assert dataset.values.shape == (5000 * 187, 1)
    assert dataset.schema.channels == ("ecg",)
    assert dataset.schema.classes == ("0", "1", "2", "3", "4")
    assert len(dataset.train_index) == 4000
    assert len(dataset.test_index) == 1000
