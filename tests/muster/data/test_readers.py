from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from muster.data.dataset import UNLABELLED, Dataset
from muster.data.description import Description, Format
from muster.data.readers import READERS, read_dataset, read_input
from muster.data.schema import Schema
from muster.errors import UserError


def test_every_format_of_the_dataset_file_has_a_reader() -> None:
    assert set(READERS) == set(get_args(Format))


def test_every_column_of_pirate_pain_is_read(pirate_pain: Description, real_data: Path) -> None:
    dataset = read_dataset(pirate_pain, base=real_data / "pirate_pain")
    assert len(dataset) == 11
    assert dataset.identifiers[:2] == ("000", "001")
    assert dataset.lengths.tolist() == [160] * 11
    assert len(dataset.schema.channels) == 4 + 31
    assert [column.name for column in dataset.schema.static] == ["n_legs", "n_hands", "n_eyes"]
    assert dataset.schema.static[0].vocabulary == ("one+peg_leg", "two")
    assert dataset.static.sum(axis=1).tolist() == [3] * 11
    assert dataset.schema.classes == ("no_pain", "low_pain", "high_pain")
    assert (dataset.labels != UNLABELLED).all()


def test_new_pirates_are_read_from_the_schema_alone(
    pirate_pain: Description, real_data: Path
) -> None:
    folder = real_data / "pirate_pain"
    dataset = read_dataset(pirate_pain, base=folder)
    schema = Schema.model_validate_json(dataset.schema.model_dump_json())
    again = read_input(schema, folder / "pirate_pain_train_11.csv")
    np.testing.assert_array_equal(again.values, dataset.values)
    np.testing.assert_array_equal(again.static, dataset.static)
    assert again.is_test.all()


def test_columns_of_the_input_may_stand_in_any_order_among_others(
    read_long: Callable[..., Dataset], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    schema = read_long().schema
    path = tmp_path / "new.csv"
    path.write_text("y,extra,label,x,walk,shoe,t\n2,no,fast,1,000,boot,0\n")
    with caplog.at_level(logging.INFO):
        dataset = read_input(schema, path)
    assert dataset.values.tolist() == [[1, 2]]
    assert dataset.labels.tolist() == [UNLABELLED]
    assert "ignored: extra" in caplog.text


def test_input_that_lacks_a_channel_or_a_static_column_is_refused(
    read_long: Callable[..., Dataset], tmp_path: Path
) -> None:
    schema = read_long().schema
    path = tmp_path / "new.csv"
    path.write_text("walk,t,x\n000,0,1\n")
    with pytest.raises(UserError, match=r"new\.csv: missing columns y, shoe"):
        read_input(schema, path)


def test_static_text_that_training_never_saw_sets_no_feature_and_is_logged(
    read_long: Callable[..., Dataset], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    schema = read_long().schema
    path = tmp_path / "new.csv"
    path.write_text("walk,t,shoe,x,y\n000,0,clog,1,2\n001,0,boot,1,2\n")
    dataset = read_input(schema, path)
    assert dataset.static.tolist() == [[0, 0], [1, 0]]
    assert "shoe holds clog, never seen in training" in caplog.text


def test_text_in_a_static_column_of_numbers_is_refused(
    read_long: Callable[..., Dataset], tmp_path: Path
) -> None:
    values = "walk,t,shoe,x\na,0,40,1\nb,0,41,2\n"
    schema = read_long(values=values, labels="walk,label\na,1\nb,2\n").schema
    path = tmp_path / "new.csv"
    path.write_text("walk,t,shoe,x\nc,0,large,1\n")
    with pytest.raises(UserError, match="shoe holds 'large' for sequence c"):
        read_input(schema, path)


def test_input_that_is_not_there_or_empty_is_refused(
    read_long: Callable[..., Dataset], tmp_path: Path
) -> None:
    schema = read_long().schema
    with pytest.raises(UserError, match="no such file"):
        read_input(schema, tmp_path / "none.csv")
    with pytest.raises(UserError, match="a folder, not a file"):
        read_input(schema, tmp_path)
    (tmp_path / "empty.csv").touch()
    with pytest.raises(UserError, match="empty"):
        read_input(schema, tmp_path / "empty.csv")


def test_gaps_in_the_input_are_filled_as_in_training(
    read_long: Callable[..., Dataset], tmp_path: Path
) -> None:
    schema = read_long(missing="linear").schema
    path = tmp_path / "new.csv"
    path.write_text("walk,t,shoe,x,y\n0,0,boot,1,2\n0,1,boot,,\n0,2,boot,3,6\n")
    assert read_input(schema, path).values.tolist() == [[1, 2], [2, 4], [3, 6]]
