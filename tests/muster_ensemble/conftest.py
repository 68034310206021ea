"""A small dataset with files to predict from, and an ensemble of untrained members over it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from muster.config import Choice, TrialConfig
from muster.data.dataset import Dataset
from muster.data.description import parse_description
from muster.data.preprocess import Preprocessor
from muster.data.readers import read_dataset
from muster.fold_model import FoldModel, input_shape, make_model
from muster_ensemble.bundle import Bundle, Member
from muster_ensemble.ledger import Ledger, Truth
from muster_ensemble.select import Candidate

DESCRIPTION = {
    "name": "walks",
    "format": "long_csv",
    "train": {"values": "values.csv", "labels": "labels.csv"},
    "test": {"values": "test.csv", "labels": "test_labels.csv"},
    "columns": {"identifier": "walk", "time": "t"},
    "predictions": {"identifier": "sample_index", "label": "pace"},
}
CLASSES = ("fast", "slow", "still")
SPEED = {"fast": 3.0, "slow": 1.0, "still": 0.0}


def values_csv(identifiers: list[str], labels: list[str]) -> str:
    """Sequences of 3 to 6 steps of two channels that tell the class."""
    chance = np.random.default_rng(len(identifiers))
    lines = ["walk,t,x,y"]
    for position, (identifier, label) in enumerate(zip(identifiers, labels, strict=True)):
        for step in range(3 + position % 4):
            x, y = SPEED[label] + chance.normal(0, 0.3, size=2)
            lines.append(f"{identifier},{step},{x:.3f},{y:.3f}")
    return "\n".join(lines) + "\n"


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def walks(tmp_path: Path) -> Dataset:
    """18 training and 9 test sequences; `input.csv` beside the files is new data."""
    folder = tmp_path / "data"
    folder.mkdir()
    for values, labels, count in (
        ("values.csv", "labels.csv", 18),
        ("test.csv", "test_labels.csv", 9),
    ):
        names = [f"{i:03}" for i in range(count)]
        truth = [CLASSES[i % 3] for i in range(count)]
        rows = [f"{name},{label}" for name, label in zip(names, truth, strict=True)]
        (folder / values).write_text(values_csv(names, truth))
        (folder / labels).write_text("\n".join(["walk,label", *rows]) + "\n")
    new = ["012", "7", "a,b", "003"]
    text = values_csv(new, ["fast", "still", "slow", "fast"]).replace("a,b", '"a,b"')
    (folder / "input.csv").write_text(text)
    return read_dataset(parse_description(DESCRIPTION, where="walks.toml"), base=folder)


@pytest.fixture
def bundle(walks: Dataset) -> Bundle:
    """Three members of two folds each; the weights are random, the same at each run."""
    members = []
    for number, name in ((4, "gru"), (2, "cnn"), (7, "lstm")):
        config = TrialConfig(architecture=Choice(name=name), seed=number)
        folds = []
        for fold in range(2):
            torch.manual_seed(10 * number + fold)
            fitted = Preprocessor.fit(walks, walks.train_index[fold::2], normalise="standard")
            shape = input_shape(walks)
            model = make_model(config, shape, fitted)
            folds.append(FoldModel(config, shape, fitted, model).to_bytes())
        members.append(Member(number, config, tuple(folds)))
    return Bundle(
        schema=walks.schema,
        members=tuple(members),
        rule="majority",
        metric="macro_f1",
        contract_hash="c" * 64,
        muster_version="0.1.0",
    )


@pytest.fixture
def candidates(walks: Dataset) -> list[Candidate]:
    """Four trials that are right more or less often; the first is the best."""
    chance = np.random.default_rng(5)
    found = []
    for number, (name, error) in enumerate(
        [("gru", 0.1), ("cnn", 0.3), ("lstm", 0.3), ("rnn", 0.9)]
    ):
        truth = np.eye(len(CLASSES))[walks.labels]
        noise = chance.dirichlet(np.ones(len(CLASSES)), size=len(walks))
        each = ((1 - error) * truth + error * noise).astype(np.float32)
        oof = each.copy()
        oof[walks.test_index] = np.nan
        curves = [
            {"fold": f, "epoch": e, "train_loss": 1 / (e + 1), "score": 0.5 + e / 10}
            for f in range(2)
            for e in range(4 + f)
        ]
        found.append(
            Candidate(
                number=number,
                value=1.0 - error,
                config=TrialConfig(architecture=Choice(name=name, options={"hidden": 50})),
                oof=oof,
                test=each[walks.test_index],
                params={"learning_rate": 0.001},
                curves=curves,
                fold_scores=(0.8, 0.9),
                weights={"fold0": "a" * 64, "fold1": "b" * 64},
                seconds=3.5,
            )
        )
    return found


@pytest.fixture
def ledger(walks: Dataset, candidates: list[Candidate]) -> Ledger:
    """The same trials' out-of-fold predictions over three folds."""
    train = walks.train_index
    return Ledger(
        numbers=tuple(candidate.number for candidate in candidates),
        architectures=tuple(candidate.architecture for candidate in candidates),
        probabilities=np.stack([candidate.oof[train] for candidate in candidates]),
        exportable=np.ones(len(candidates), dtype=bool),
        truth=Truth(train, walks.labels[train], np.arange(len(train)) // 3 % 3, None),
        metric="macro_f1",
    )
