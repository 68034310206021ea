"""Data for the tests: small datasets made up here, and the real files where they are."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from muster.data.dataset import Dataset
from muster.data.description import Description, Source, load_description, parse_description
from muster.data.readers import read_dataset
from muster.data.schema import Schema, StaticColumn

REPOSITORY = Path(__file__).parents[3]
LONG = {
    "name": "walks",
    "format": "long_csv",
    "train": {"values": "values.csv", "labels": "labels.csv"},
    "columns": {"identifier": "walk", "time": "t", "static": ["shoe"]},
}
VALUES = """walk,t,shoe,x,y
007,0,boot,1.0,2
007,1,boot,1.5,3
08,1,sandal,0.5,1
08,0,sandal,0.25,0
9,0,boot,3,4
9,1,boot,4,4
9,2,boot,5,5
"""
LABELS = """walk,label
007,fast
08,slow
9,fast
"""


@pytest.fixture
def read_long(tmp_path: Path) -> Callable[..., Dataset]:
    """Reads a long CSV of three walks; any file's text and any key of the TOML may be replaced."""

    def read(
        *, values: str | bytes = VALUES, labels: str | None = LABELS, **changes: Any
    ) -> Dataset:
        content = values.encode() if isinstance(values, str) else values
        (tmp_path / "values.csv").write_bytes(content)
        if labels is not None:
            (tmp_path / "labels.csv").write_text(labels)
        columns = LONG["columns"] | changes.pop("columns", {})
        content_toml = {**LONG, "columns": columns, **changes}
        return read_dataset(parse_description(content_toml, where="walks.toml"), base=tmp_path)

    return read


@pytest.fixture
def read_wide(tmp_path: Path) -> Callable[..., Dataset]:
    """Reads wide CSV files, given as text: the training rows and, if given, the test rows."""

    def read(train: str, test: str | None = None, **columns: Any) -> Dataset:
        content: dict[str, Any] = {"name": "wide", "format": "wide_csv", "columns": columns}
        for part, text in (("train", train), ("test", test)):
            if text is not None:
                (tmp_path / f"{part}.csv").write_text(text)
                content[part] = {"values": f"{part}.csv"}
        return read_dataset(parse_description(content, where="wide.toml"), base=tmp_path)

    return read


@pytest.fixture
def make_dataset() -> Callable[..., Dataset]:
    """Makes random datasets: 12 sequences of 3 to 9 steps, 3 channels, a text and a number."""

    def make(*, seed: int = 0, **changes: Any) -> Dataset:
        rng = np.random.default_rng(seed)
        sequences = 12
        lengths = rng.integers(3, 10, sequences)
        values = rng.normal(2.0, 3.0, (int(lengths.sum()), 3)).astype(np.float32)
        values[rng.random(values.shape) < 0.1] = np.nan
        shoe = np.eye(2, dtype=np.float32)[rng.integers(0, 2, sequences)]
        age = rng.normal(40, 9, (sequences, 1)).astype(np.float32)
        schema = Schema(
            channels=("x", "y", "z"),
            static=(
                StaticColumn(name="shoe", vocabulary=("boot", "sandal")),
                StaticColumn(name="age"),
            ),
            classes=("a", "b"),
            description=changes.pop("description", {}),
        )
        fields = {
            "name": "made",
            "schema": schema,
            "values": values,
            "offsets": np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            "static": np.hstack([shoe, age]),
            "labels": np.array([0, 1] * 5 + [0, -1], dtype=np.int64),
            "groups": None,
            "is_test": np.array([False] * 10 + [True] * 2),
            "identifiers": tuple(f"{number:03d}" for number in range(sequences)),
        }
        return Dataset(**{**fields, **changes})

    return make


@pytest.fixture
def example() -> Callable[[str], Path]:
    """The path of one of the repository's example dataset files."""
    return lambda name: REPOSITORY / "examples" / f"{name}.toml"


@pytest.fixture(scope="session")
def real_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the real heartbeat and Pirate Pain files, or of made ones of their shape."""
    named = os.environ.get("MUSTER_DATA")
    folder = Path(named) if named else REPOSITORY.parent / "shared" / "data"
    if (folder / "pirate_pain").is_dir() and (folder / "heartbeat").is_dir():
        return folder
    made = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    (made / "heartbeat").mkdir()
    for part, rows in (("train", 4000), ("test", 1000)):
        beats = rng.random((rows, 187)).round(6)
        lines = (",".join(map(str, [*beat, row % 5])) for row, beat in enumerate(beats))
        with gzip.open(made / f"heartbeat/heartbeat_{part}_sample.csv.gz", "wt") as file:
            file.write("\n".join(lines) + "\n")
    _make_pirates(made / "pirate_pain", rng)
    return made


def _make_pirates(folder: Path, rng: np.random.Generator) -> None:
    folder.mkdir()
    joints = [f"joint_{number:02d}" for number in range(31)]
    surveys = [f"pain_survey_{number}" for number in range(1, 5)]
    lines = [",".join(["sample_index", "time", *surveys, "n_legs", "n_hands", "n_eyes", *joints])]
    for sequence in range(11):
        body = ["one+peg_leg", "one+hook_hand", "one+eye_patch"] if sequence == 8 else ["two"] * 3
        for time in range(160):
            values = [*rng.integers(0, 3, 4), *body, *rng.random(30), 0.5]
            lines.append(f"{sequence:03d},{time}," + ",".join(map(str, values)))
    (folder / "pirate_pain_train_11.csv").write_text("\n".join(lines) + "\n")
    kinds = ["no_pain", "low_pain", "high_pain"]
    labels = [f"{sequence:03d},{kinds[sequence % 3]}" for sequence in range(661)]
    text = "\n".join(["sample_index,label", *labels]) + "\n"
    (folder / "pirate_pain_train_labels.csv").write_text(text)


@pytest.fixture
def pirate_pain(example: Callable[[str], Path]) -> Description:
    """The example's description, told to read the first 11 sequences."""
    whole = load_description(example("pirate_pain"))
    source = Source(values="pirate_pain_train_11.csv", labels="pirate_pain_train_labels.csv")
    return whole.model_copy(update={"train": source})
