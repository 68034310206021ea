from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from muster.data.dataset import UNLABELLED, Dataset
from muster.data.description import parse_description
from muster.data.readers import read_dataset
from muster.errors import UserError

Read = Callable[..., Dataset]


def test_sequences_are_sorted_by_time_and_identifiers_stay_text(read_long: Read) -> None:
    dataset = read_long()
    assert dataset.identifiers == ("007", "08", "9")
    assert dataset.schema.channels == ("x", "y")
    assert dataset.lengths.tolist() == [2, 2, 3]
    assert dataset.values[2:4].tolist() == [[0.25, 0.0], [0.5, 1.0]]
    assert dataset.schema.classes == ("fast", "slow")
    assert dataset.labels.tolist() == [0, 1, 0]
    assert dataset.static.tolist() == [[1, 0], [0, 1], [1, 0]]
    assert dataset.schema.static[0].vocabulary == ("boot", "sandal")


def test_rows_in_any_order_give_the_same_sequences(read_long: Read) -> None:
    values = "walk,t,shoe,x\nb,10,s,1\na,0,s,2\nb,9,s,3\na,1,s,4\nb,-1,s,5\n"
    dataset = read_long(values=values, labels="walk,label\na,1\nb,2\n")
    assert dataset.identifiers == ("b", "a")
    assert dataset.values[:, 0].tolist() == [5, 3, 1, 2, 4]


def test_times_may_be_iso_dates_or_absent(read_long: Read) -> None:
    dated = "walk,t,shoe,x\na,2024-02-01,s,1\na,2024-01-01T10:00,s,2\nb,2024-01-01,s,3\n"
    labels = "walk,label\na,1\nb,2\n"
    assert read_long(values=dated, labels=labels).values[:, 0].tolist() == [2, 1, 3]
    untimed = read_long(values=dated, labels=labels, columns={"time": None, "exclude": ["t"]})
    assert untimed.values[:, 0].tolist() == [1, 2, 3]


def test_labels_and_groups_may_stand_in_the_values(read_long: Read) -> None:
    values = "walk,t,who,kind,x\na,0,ann,NA,1\na,1,ann,NA,2\nb,0,bob,up,3\nc,0,ann,,4\n"
    dataset = read_long(
        values=values,
        labels=None,
        train={"values": "values.csv"},
        columns={"label": "kind", "group": "who", "static": []},
    )
    assert dataset.schema.classes == ("NA", "up")
    assert dataset.labels.tolist() == [0, 1, UNLABELLED]
    assert dataset.groups is not None and dataset.groups.tolist() == [0, 1, 0]
    assert dataset.static.shape == (3, 0)
    assert dataset.schema.label_column == "kind"


def test_groups_and_statics_may_stand_in_the_labels_file(read_long: Read) -> None:
    labels = "walk,label,shoe,who\n007,1,boot,s2\n08,2,boot,s10\n9,1,clog,s2\n"
    values = "walk,t,x\n007,0,1\n08,0,1\n9,0,2\n"
    dataset = read_long(values=values, labels=labels, columns={"group": "who"})
    assert dataset.schema.static[0].vocabulary == ("boot", "clog")
    assert dataset.groups is not None and dataset.groups.tolist() == [1, 0, 1]


def test_a_sequence_without_a_label_is_unlabelled(read_long: Read) -> None:
    dataset = read_long(labels="walk,label\n007,fast\n08,slow\n")
    assert dataset.labels.tolist() == [0, 1, UNLABELLED]
    assert dataset.train_index.tolist() == [0, 1]


def test_a_test_part_without_labels_is_read(read_long: Read, tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text("walk,t,y,x,shoe\n007,0,5,6,clog\n")
    dataset = read_long(test={"values": "test.csv"})
    assert dataset.test_index.tolist() == [3]
    assert dataset.labels[3] == UNLABELLED
    assert dataset.values[-1].tolist() == [6, 5]
    assert dataset.static[3].tolist() == [0, 0]


def test_an_optional_test_part_may_be_away(read_long: Read) -> None:
    dataset = read_long(test={"values": "test.csv", "optional": True})
    assert not len(dataset.test_index)


def test_numeric_static_columns_are_numbers(read_long: Read) -> None:
    values = "walk,t,shoe,x\na,0,40,1\nb,0,42.5,2\nc,0,,3\n"
    dataset = read_long(values=values, labels="walk,label\na,1\nb,2\n")
    assert dataset.schema.static[0].vocabulary is None
    np.testing.assert_array_equal(dataset.static[:, 0], [40, 42.5, np.nan])


def test_parquet_reads_like_csv(read_long: Read, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    from_csv = read_long()
    frame = pd.read_csv(tmp_path / "values.csv", dtype={"walk": str})
    frame.to_parquet(tmp_path / "values.parquet")
    read = read_long(train={"values": "values.parquet", "labels": "labels.csv"})
    np.testing.assert_array_equal(read.values, from_csv.values)
    assert read.identifiers == from_csv.identifiers
    (tmp_path / "values.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(UserError, match=r"values\.parquet"):
        read_long(train={"values": "values.parquet", "labels": "labels.csv"})


def test_all_missing_files_are_named(tmp_path: Path) -> None:
    content = {
        "name": "walks",
        "format": "long_csv",
        "train": {"values": "values.csv", "labels": "labels.csv"},
        "columns": {"identifier": "walk"},
    }
    with pytest.raises(UserError, match=r"values\.csv.*labels\.csv.*--data-root"):
        read_dataset(parse_description(content, where="walks.toml"), base=tmp_path)


def test_missing_columns_are_named_together(read_long: Read) -> None:
    with pytest.raises(UserError, match=r"missing columns t, shoe; the file has walk, x"):
        read_long(values="walk,x\na,1\n")
    with pytest.raises(UserError, match=r"labels\.csv: missing column label"):
        read_long(labels="walk,kind\n007,fast\n")
    with pytest.raises(UserError, match="missing column z"):
        read_long(columns={"channels": ["x", "z"]})
    with pytest.raises(UserError, match="missing column who"):
        read_long(columns={"group": "who"})


def test_labels_of_unknown_sequences_are_refused_unless_ignored(read_long: Read) -> None:
    labels = "walk,label\n007,fast\n08,slow\n7,fast\n"
    with pytest.raises(UserError, match=r'1 of its sequences .* such as 7; .*"ignore"'):
        read_long(labels=labels)
    dataset = read_long(labels=labels, unknown_labels="ignore")
    assert dataset.labels.tolist() == [0, 1, UNLABELLED]


def test_a_sequence_with_two_labels_is_refused(read_long: Read) -> None:
    with pytest.raises(UserError, match="walk 007 has two rows"):
        read_long(labels="walk,label\n007,fast\n007,slow\n")


def test_text_where_numbers_belong_names_column_and_line(read_long: Read) -> None:
    values = "walk,t,shoe,x\na,0,s,1\na,1,s,\na,2,s,oops\nb,0,s,NaN\n"
    with pytest.raises(UserError, match=r"column x, line 4: 'oops' is no number"):
        read_long(values=values, labels="walk,label\na,1\nb,2\n")
    with pytest.raises(UserError, match="column t, line 3: 'late'"):
        read_long(values="walk,t,shoe,x\na,0,s,1\na,late,s,1\n", labels="walk,label\na,1\n")


@pytest.mark.parametrize("value", ["inf", "1e39"])
def test_infinite_values_are_refused(read_long: Read, value: str) -> None:
    with pytest.raises(UserError, match="column x, line 2: infinite"):
        read_long(values=f"walk,t,shoe,x\na,0,s,{value}\n", labels="walk,label\na,1\n")


def test_an_all_missing_channel_is_refused(read_long: Read) -> None:
    values = "walk,t,shoe,x,y\na,0,s,1,\na,1,s,1,NA\nb,0,s,1,?\n"
    with pytest.raises(UserError, match=r"no value at all in channel y.*exclude"):
        read_long(values=values, labels="walk,label\na,1\nb,2\n")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "the file is empty"),
        (b"walk,t,shoe,x,y\n", "a header and no rows"),
        (b"walk,t,shoe,x,x\na,0,s,1,1\n", "named twice: x"),
        (b"walk,t,shoe,x,y\na,0,s,1,1,9,9,9\n", "line 2 has more values than the header"),
        (b"walk,t,shoe,x,y\na,0,s,1,1\na,1,s,1,1,9\n", "Expected 5 fields in line 3, saw 6"),
        (b"walk,t,shoe,x,y\n\xff\xfe,0,s,1,1\n", "not the table"),
        (b"walk,t,shoe,x,y\n,0,s,1,1\n", "line 2: no identifier"),
        (b"walk,t,shoe,x,y\na,0,s,1,1\na,0,s,2,1\n", "has t 0 twice, in lines 2 and 3"),
        (b"walk,t,shoe,x,y\na,0,s,1,1\na,1,r,2,1\n", "shoe changes within sequence a"),
    ],
)
def test_broken_values_are_refused(read_long: Read, content: bytes, expected: str) -> None:
    with pytest.raises(UserError, match=expected) as caught:
        read_long(values=content, labels="walk,label\na,1\n")
    assert "values.csv" in str(caught.value)


def test_a_truncated_gzip_is_refused(read_long: Read, tmp_path: Path) -> None:
    read_long()
    rows = "".join(f"{row % 9},{row},s,{row * 0.37},{row**0.5}\n" for row in range(5000))
    whole = gzip.compress(b"walk,t,shoe,x,y\n" + rows.encode())
    for cut in (len(whole) // 2, len(whole) - 4, 12):
        (tmp_path / "values.csv.gz").write_bytes(whole[:cut])
        with pytest.raises(UserError, match=r"values\.csv\.gz: .*fetch"):
            read_long(train={"values": "values.csv.gz", "labels": "labels.csv"})


def test_a_training_part_without_labels_is_refused(read_long: Read) -> None:
    with pytest.raises(UserError, match="missing column label"):
        read_long(labels=None, train={"values": "values.csv"})
    with pytest.raises(UserError, match="not one training sequence has a label"):
        read_long(labels="walk,label\n007,\n")


def test_a_labelled_sequence_without_a_group_is_refused(read_long: Read) -> None:
    labels = "walk,label,who\n007,fast,ann\n08,slow,\n9,fast,bob\n"
    with pytest.raises(UserError, match="sequence 08 has no group"):
        read_long(labels=labels, columns={"group": "who"})


def test_a_large_file_is_read_without_a_loop_over_rows(read_long: Read, tmp_path: Path) -> None:
    rows = 200_000
    frame = pd.DataFrame({"walk": np.arange(rows) // 100, "t": np.arange(rows) % 100})
    frame["shoe"] = "boot"
    frame["x"] = 1.5
    frame["y"] = np.arange(rows)
    labels = pd.DataFrame({"walk": np.arange(rows // 100), "label": np.arange(rows // 100) % 2})
    dataset = read_long(values=frame.to_csv(index=False), labels=labels.to_csv(index=False))
    assert dataset.values.shape == (rows, 2)
    assert len(dataset) == rows // 100
