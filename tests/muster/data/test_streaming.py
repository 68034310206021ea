from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from muster.data.dataset import Dataset
from muster.data.description import parse_description
from muster.data.readers import read_dataset, read_input
from muster.data.schema import Schema
from muster.data.streaming import STREAMS, Scattered, stream_input
from muster.errors import UserError

LONG: dict[str, Any] = {
    "name": "walks",
    "format": "long_csv",
    "train": {"values": "train.csv"},
    "columns": {"identifier": "walk", "time": "t", "static": ["site"]},
    "missing": "linear",
}
NPZ: dict[str, Any] = {
    "name": "cubes",
    "format": "npz",
    "train": {"values": "train.npz"},
    "columns": {"identifier": "id", "lengths": "n", "label": "y", "static": ["site"]},
}
WIDE: dict[str, Any] = {"name": "beats", "format": "wide_csv", "train": {"values": "train.csv"}}


def long_table(sequences: int, *, seed: int, reverse: bool = False) -> pd.DataFrame:
    chance = np.random.default_rng(seed)
    rows = []
    for number in range(sequences):
        steps = range(1 + number % 5)
        for step in reversed(steps) if reverse else steps:
            x, y = chance.normal(size=2).round(3)
            label, site = ("fast", "slow")[number % 2], ("east", "west")[number % 3 % 2]
            rows.append((f"w{number:02}", step, site, x, None if step == 1 else y, label))
    return pd.DataFrame(rows, columns=["walk", "t", "site", "x", "y", "label"])


def cubes(sequences: int, *, seed: int) -> dict[str, np.ndarray[Any, Any]]:
    chance = np.random.default_rng(seed)
    return {
        "X": chance.normal(size=(sequences, 2, 6)),
        "y": np.arange(sequences) % 2,
        "id": np.array([f"c{number}" for number in range(sequences)]),
        "n": 1 + np.arange(sequences) % 6,
        "site": np.array(["east", "west", "north"])[np.arange(sequences) % 3],
    }


def schema_of(description: dict[str, Any], folder: Path) -> Schema:
    return read_dataset(parse_description(description, where="x"), base=folder).schema


def together(pieces: list[Dataset]) -> tuple[Any, ...]:
    return (
        np.concatenate([piece.values for piece in pieces]),
        np.concatenate([piece.lengths for piece in pieces]),
        np.concatenate([piece.static for piece in pieces]),
        [name for piece in pieces for name in piece.identifiers],
    )


def assert_same(schema: Schema, path: Path, numbers: int, *, least: int) -> None:
    """The pieces make what is read at once, in its order."""
    pieces = list(stream_input(schema, path, numbers=numbers))
    assert len(pieces) >= least
    whole = read_input(schema, path)
    for found, expected in zip(together(pieces), together([whole]), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.fixture
def long_schema(tmp_path: Path) -> Schema:
    long_table(12, seed=0).to_csv(tmp_path / "train.csv", index=False)
    return schema_of(LONG, tmp_path)


@pytest.mark.parametrize("numbers", [1, 7, 40, 200, 10**6])
@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "parquet"])
def test_long_tables_come_in_pieces(
    long_schema: Schema, tmp_path: Path, numbers: int, suffix: str
) -> None:
    path = tmp_path / f"input.{suffix}"
    frame = long_table(23, seed=1, reverse=True).drop(columns="label")
    if suffix == "parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False)
    assert_same(long_schema, path, numbers, least=1 if numbers == 10**6 else 2)


def test_a_sequence_whose_rows_are_apart_is_said_so(long_schema: Schema, tmp_path: Path) -> None:
    frame = long_table(9, seed=1)
    pd.concat([frame.iloc[2:], frame.iloc[1:2]]).to_csv(tmp_path / "input.csv", index=False)
    with pytest.raises(Scattered, match="identifier w01 names two sequences, or rows that are ap"):
        list(stream_input(long_schema, tmp_path / "input.csv", numbers=20))
    assert len(read_input(long_schema, tmp_path / "input.csv")) == 8


def test_a_bad_cell_of_a_later_piece_is_named_by_its_line(
    long_schema: Schema, tmp_path: Path
) -> None:
    path = tmp_path / "input.csv"
    long_table(9, seed=1).to_csv(path, index=False)
    lines = path.read_text().splitlines()
    lines[15] = lines[15].replace(lines[15].split(",")[3], "wet")
    path.write_text("\n".join(lines))
    with pytest.raises(UserError, match=r"column x, line 16: 'wet' is no number"):
        list(stream_input(long_schema, path, numbers=20))


@pytest.mark.parametrize("numbers", [1, 30, 10**6])
@pytest.mark.parametrize("is_compressed", [False, True], ids=["stored", "compressed"])
def test_arrays_come_in_pieces(tmp_path: Path, numbers: int, is_compressed: bool) -> None:
    np.savez(tmp_path / "train.npz", allow_pickle=False, **cubes(6, seed=0))
    save = np.savez_compressed if is_compressed else np.savez
    save(tmp_path / "input.npz", allow_pickle=False, **cubes(17, seed=1))
    schema = schema_of(NPZ, tmp_path)
    assert_same(schema, tmp_path / "input.npz", numbers, least=1 if numbers == 10**6 else 2)


def test_an_array_that_lies_column_by_column_comes_whole(tmp_path: Path) -> None:
    np.savez(tmp_path / "train.npz", allow_pickle=False, **cubes(6, seed=0))
    arrays = cubes(17, seed=1)
    arrays["X"] = np.asfortranarray(arrays["X"])
    np.savez(tmp_path / "input.npz", allow_pickle=False, **arrays)
    assert_same(schema_of(NPZ, tmp_path), tmp_path / "input.npz", 1, least=1)


def test_an_array_that_is_cut_or_lies_about_its_size_is_one_message(tmp_path: Path) -> None:
    np.savez(tmp_path / "train.npz", allow_pickle=False, **cubes(6, seed=0))
    schema = schema_of(NPZ, tmp_path)
    data = (tmp_path / "train.npz").read_bytes()
    for change in ((b"(6, 2, 6)", b"(9, 2, 6)"), (b"(6, 2, 6)", b"(6, 2, -6)"[:9])):
        (tmp_path / "input.npz").write_bytes(data.replace(*change))
        with pytest.raises(UserError, match=r"input\.npz"):
            list(stream_input(schema, tmp_path / "input.npz"))


@pytest.mark.parametrize("numbers", [1, 50, 10**6])
def test_wide_rows_come_in_pieces(tmp_path: Path, numbers: int) -> None:
    chance = np.random.default_rng(0)
    for name, count in (("train.csv", 8), ("input.csv", 25)):
        frame = pd.DataFrame(chance.normal(size=(count, 10)).round(3))
        frame[10] = np.arange(count) % 2
        frame.to_csv(tmp_path / name, header=False, index=False)
    schema = schema_of(WIDE, tmp_path)
    assert_same(schema, tmp_path / "input.csv", numbers, least=1 if numbers == 10**6 else 2)


def test_every_format_says_how_it_comes_in_pieces() -> None:
    from muster.data.readers import READERS  # noqa: PLC0415

    assert list(STREAMS) == list(READERS)
