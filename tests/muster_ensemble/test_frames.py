from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import muster_ensemble
from muster.data.readers import read_input
from muster.errors import UserError
from muster_ensemble.frames import as_dataset
from muster_ensemble.predict import Predictor

DATA = Path(__file__).parents[1] / "data/bundles"


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return muster_ensemble.load(DATA / "format2", device="cpu")


@pytest.fixture
def table() -> pd.DataFrame:
    return pd.read_csv(DATA / "input.csv")


def test_a_table_predicts_as_its_file_does(predictor: Predictor, table: pd.DataFrame) -> None:
    expected = pd.read_csv(DATA / "expected2.csv")
    assert predictor.predict(table).tolist() == expected["label"].tolist()
    shares = predictor.predict_proba(table)
    np.testing.assert_allclose(shares, expected.iloc[:, 2:], atol=2e-6)
    assert predictor.classes_.tolist() == ["fast", "slow", "still"]
    assert (predictor.classes_[shares.argmax(axis=1)] == predictor.predict(table)).all()


def test_rows_in_any_order_give_the_sequences_in_that_of_their_first_row(
    predictor: Predictor, table: pd.DataFrame
) -> None:
    mixed = table.sample(frac=1, random_state=1)
    dataset = as_dataset(predictor.schema, mixed)
    assert list(dataset.identifiers) == list(dict.fromkeys(mixed["walk"]))
    of_file = dict(zip(table["walk"].unique(), predictor.predict_proba(table), strict=True))
    for name, row in zip(dataset.identifiers, predictor.predict_proba(mixed), strict=True):
        np.testing.assert_allclose(row, of_file[name], atol=1e-6)


def test_arrays_predict_as_the_table_does(predictor: Predictor, table: pd.DataFrame) -> None:
    sequences = [rows[["x", "y"]].to_numpy() for _, rows in table.groupby("walk")]
    static = table.groupby("walk")[["site"]].first()
    expected = predictor.predict_proba(table)
    found = predictor.predict_proba(sequences, static=static)
    np.testing.assert_array_equal(found, expected)
    four = [rows[:4] for rows in sequences]
    cube = predictor.predict_proba(np.stack(four), static=static)
    np.testing.assert_array_equal(cube, predictor.predict_proba(four, static=dict(static)))
    assert cube.shape == (9, 3)


@pytest.mark.parametrize("dtype", ["float64", "float16", "int32", "bool"])
def test_numbers_of_any_type_are_taken(predictor: Predictor, dtype: str) -> None:
    cube = np.ones((3, 4, 2))
    static = {"site": ["east"] * 3}
    found = predictor.predict_proba(cube.astype(dtype), static=static)
    np.testing.assert_array_equal(found, predictor.predict_proba(cube, static=static))


def test_no_sequence_has_no_prediction(predictor: Predictor, table: pd.DataFrame) -> None:
    assert predictor.predict_proba([]).shape == (0, 3)
    assert predictor.predict(np.zeros((0, 4, 2))).shape == (0,)
    assert predictor.predict(table.iloc[:0]).tolist() == []


def test_a_static_value_that_training_never_saw_is_all_zeros(
    predictor: Predictor, caplog: pytest.LogCaptureFixture
) -> None:
    dataset = as_dataset(predictor.schema, np.ones((2, 4, 2)), {"site": ["mars", "east"]})
    assert dataset.static.tolist() == [[0, 0], [1, 0]]
    assert "static column site holds mars, never seen in training: all zeros" in caplog.text


def test_further_columns_are_ignored(predictor: Predictor, table: pd.DataFrame) -> None:
    expected = predictor.predict(table)
    assert (predictor.predict(table.assign(z=1.0, label="slow")) == expected).all()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.ones((2, 4, 3)), r"sequence 0 has shape \(4, 3\); it must be \(steps, 2\)"),
        ([np.ones((4, 2)), np.ones((0, 2))], r"sequence 1 has shape \(0, 2\).*at least one step"),
        ([np.ones((4, 2)), [["a", "b"]]], "sequence 1 holds <U1, not numbers"),
        (np.full((2, 4, 2), np.inf), "sequence 0 holds an infinite value"),
        (np.ones((3, 4, 2)), r"static column site has shape \(2,\), not one value"),
        (
            pd.DataFrame({"walk": ["a"], "t": [0], "site": ["east"], "x": [1.0]}),
            "missing column y",
        ),
        (
            pd.DataFrame({"walk": ["a", "a"], "t": 0, "site": "east", "x": 1.0, "y": 2.0}),
            "sequence a has t 0 twice",
        ),
        (
            pd.DataFrame({"walk": ["a"], "t": 0, "site": "east", "x": "wet", "y": 2.0}),
            "column x, line 2: 'wet' is no number",
        ),
    ],
    ids=["channels", "empty", "texts", "infinite", "static", "column", "twice", "cell"],
)
def test_what_cannot_be_read_is_one_clear_message(
    predictor: Predictor, data: object, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        predictor.predict(data, static={"site": ["east", "west"]})  # type: ignore[arg-type]


def test_arrays_without_their_static_columns_are_refused(predictor: Predictor) -> None:
    with pytest.raises(UserError, match="static column site is missing; give it as static="):
        predictor.predict(np.ones((2, 4, 2)))


def test_a_file_and_the_frame_of_it_are_one_dataset(
    predictor: Predictor, table: pd.DataFrame
) -> None:
    of_file = read_input(predictor.schema, DATA / "input.csv")
    of_frame = as_dataset(predictor.schema, table)
    np.testing.assert_array_equal(of_file.values, of_frame.values)
    np.testing.assert_array_equal(of_file.static, of_frame.static)
