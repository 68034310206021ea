"""Does the nested estimate tell what the ensemble reaches on data that it never saw?

`python -m benchmarks.honesty DATASET --repeats 10 --trials 40`: each repeat splits the labelled
sequences anew into a training and a test part (by group where there are groups), trains so many
configurations drawn from the dataset's search space, chooses by each rule, and compares its nested
and naive figures with the score on the test part. What is trained is kept in --pool, what is
measured in benchmarks/results/honesty.json: the same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from muster.data.dataset import UNLABELLED, Dataset
from muster.data.description import load_description
from muster.data.folds import make_folds
from muster.data.readers import read_dataset
from muster.data.schema import Schema
from muster.errors import NonFiniteLoss
from muster.evaluation import Evaluation
from muster.metrics import score
from muster.space import Space, load_space
from muster.voting import halve
from muster_ensemble.estimate import AUTO, Outcome, decide_and_estimate
from muster_ensemble.files import write_file
from muster_ensemble.ledger import Ledger, Truth

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results" / "honesty.json"
METRIC = "macro_f1"
FOLDS = 3
SHARED = ROOT.parent / "shared" / "data"
# Steps of a window of the smartwatch's signal, about a second.
WINDOW = 100
# By how much the choice may fall below the best single trial on the test part.
ALLOWED = 0.005


def main() -> int:
    """Run what is missing, write after each repeat, print; 1 where a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", choices=[*SOURCES])
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--data", type=Path, default=SHARED)
    parser.add_argument("--pool", type=Path, default=ROOT / "runs" / "honesty")
    given = parser.parse_args()
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    read, space_file = SOURCES[given.dataset]
    if not (whole := read(given.data)):
        print(f"{given.dataset}: its data is not in {given.data}; skipped")
        return 0
    space = load_space(ROOT / "search_spaces" / space_file)
    found = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    for repeat in range(given.repeats):
        key = f"{given.dataset} {given.trials} trials, repeat {repeat}"
        if key not in found:
            pool = given.pool / given.dataset / str(repeat)
            found[key] = measure(
                split(whole, seed=repeat), space, pool, trials=given.trials, seed=repeat
            )
            write_file(RESULTS, (json.dumps(found, indent=1) + "\n").encode())
    prefix = f"{given.dataset} {given.trials} trials, "
    return show({key: rules for key, rules in found.items() if key.startswith(prefix)})


def measure(
    dataset: Dataset, space: Space, pool: Path, *, trials: int, seed: int
) -> dict[str, dict[str, Any]]:
    """The figures of each rule in one repeat."""
    folds = make_folds(dataset, folds=FOLDS, seed=seed)
    rows = np.flatnonzero(folds >= 0)
    names, oof, test = [], [], []
    for name, arrays in train(dataset, folds, space, pool, trials=trials, seed=seed):
        names.append(name)
        oof.append(halve(arrays["oof"])[rows])
        test.append(arrays["test"])
    groups = None if dataset.groups is None else dataset.groups[rows]
    ledger = Ledger(
        numbers=tuple(range(len(names))),
        architectures=tuple(names),
        probabilities=np.stack(oof),
        exportable=np.ones(len(names), dtype=bool),
        truth=Truth(rows, dataset.labels[rows], folds[rows], groups, len(dataset.test_index)),
        metric=METRIC,
    )
    labels = dataset.labels[dataset.test_index]
    auto = decide_and_estimate(ledger, rule=AUTO)
    each = {
        rule: decide_and_estimate(ledger, rule=rule) for rule in auto.estimates if rule != AUTO
    }
    return {
        rule: figures(outcome, np.stack(test), labels)
        for rule, outcome in (each | {AUTO: auto}).items()
    }


def train(
    dataset: Dataset,
    folds: NDArray[np.int64],
    space: Space,
    pool: Path,
    *,
    trials: int,
    seed: int,
) -> list[tuple[str, dict[str, NDArray[np.float32]]]]:
    """Architecture and out-of-fold and test probabilities of each configuration, once trained."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    found = []
    for number in range(trials):
        config = space.suggest(study.ask())
        path = pool / f"{number}.npz"
        if not path.is_file():
            evaluation = Evaluation(
                dataset,
                folds,
                config.model_copy(update={"seed": number}),
                metric=METRIC,
                device=torch.device("cuda" if torch.cuda.is_available() else "cpu"),
            )
            try:
                for _ in evaluation.epochs():
                    pass
            except NonFiniteLoss:
                continue
            result = evaluation.result()
            stream = io.BytesIO()
            np.savez(stream, oof=result.probabilities, test=result.test_probabilities)
            write_file(path, stream.getvalue())
        with np.load(path, allow_pickle=False) as stored:
            found.append((config.architecture.name, {key: stored[key] for key in stored}))
    return found


def figures(
    outcome: Outcome,
    test: NDArray[np.float32],
    labels: NDArray[np.int64],
) -> dict[str, Any]:
    """Nested, naive and test figures of one rule's choice."""
    scores = outcome.choice.vote(test[list(outcome.choice.members)])
    estimate = outcome.estimate
    return {
        "rule": outcome.rule,
        "members": len(outcome.choice.members),
        "nested": estimate.nested,
        "interval": [estimate.low, estimate.high],
        "naive": estimate.naive,
        "test": score(METRIC, labels, scores),
    }


def show(found: dict[str, dict[str, dict[str, Any]]]) -> int:
    """A line a rule over all repeats; 1 where `auto` breaks a promise."""
    table = Table(
        "rule", "nested", "naive", "test", "test within interval", "gain", "worst", box=None
    )
    is_broken = False
    for rule in next(iter(found.values()), {}):
        rows = [rules[rule] for rules in found.values()]
        gains = [rules[rule]["test"] - rules["single"]["test"] for rules in found.values()]
        within = sum(row["interval"][0] <= row["test"] <= row["interval"][1] for row in rows)
        means = (
            float(np.mean([row[name] for row in rows])) for name in ("nested", "naive", "test")
        )
        share = f"{within} of {len(rows)}"
        cells = (f"{value:.4f}" for value in means)
        table.add_row(rule, *cells, share, f"{np.mean(gains):+.4f}", f"{min(gains):+.4f}")
        if rule == AUTO:
            is_broken = within < 0.9 * len(rows) or np.mean(gains) < 0 or min(gains) < -ALLOWED
    Console().print(table)
    return int(is_broken)


def split(dataset: Dataset, *, seed: int) -> Dataset:
    """The labelled sequences, half of them a test part: of each class, or whole groups."""
    labelled = np.flatnonzero(dataset.labels != UNLABELLED)
    rng = np.random.default_rng(seed)
    is_test = np.zeros(len(dataset), dtype=bool)
    if dataset.groups is not None:
        names = rng.permutation(np.unique(dataset.groups[labelled]))
        is_test[labelled] = np.isin(dataset.groups[labelled], names[: len(names) // 2])
    else:
        for label in np.unique(dataset.labels[labelled]):
            same = rng.permutation(labelled[dataset.labels[labelled] == label])
            is_test[same[: len(same) // 2]] = True
    identifiers = tuple(str(i) for i in range(len(dataset)))
    return replace(dataset, is_test=is_test, identifiers=identifiers)


def japanese_vowels(data: Path) -> Dataset | None:
    """The archive's two parts, through aeon; nothing of data is needed."""
    return _example("japanese_vowels.toml", ROOT / "examples")


def heartbeat(data: Path) -> Dataset | None:
    """The sample of 5,000 heartbeats."""
    folder = data / "heartbeat"
    return _example("heartbeat.toml", folder) if folder.is_dir() else None


def spsw_har(data: Path) -> Dataset | None:
    """Windows of the smartwatch's signals, each with its commonest label; subjects are groups."""
    files = sorted((data / "spsw_har").rglob("*_sw.csv"))
    if not files:
        return None
    parts, names, subjects = [], [], []
    for path in files:
        table = pd.read_csv(path)
        for start in range(0, len(table) - WINDOW + 1, WINDOW):
            window = table.iloc[start : start + WINDOW]
            parts.append(window.iloc[:, :6].to_numpy(np.float32))
            names.append(window["label"].mode()[0])
            subjects.append(path.name[:3])
    classes, labels = np.unique(names, return_inverse=True)
    _, groups = np.unique(subjects, return_inverse=True)
    channels = tuple(str(name) for name in table.columns[:6])
    return Dataset(
        name="spsw_har",
        schema=Schema(channels=channels, classes=tuple(classes), description={"format": "npz"}),
        values=np.concatenate(parts),
        offsets=np.arange(len(parts) + 1, dtype=np.int64) * WINDOW,
        static=np.zeros((len(parts), 0), dtype=np.float32),
        labels=labels.astype(np.int64),
        groups=groups.astype(np.int64),
        is_test=np.zeros(len(parts), dtype=bool),
        identifiers=tuple(str(i) for i in range(len(parts))),
    )


def _example(name: str, folder: Path) -> Dataset:
    return read_dataset(load_description(ROOT / "examples" / name), base=folder)


SOURCES: dict[str, tuple[Callable[[Path], Dataset | None], str]] = {
    "japanese_vowels": (japanese_vowels, "quickstart.toml"),
    "spsw_har": (spsw_har, "quickstart.toml"),
    "heartbeat": (heartbeat, "heartbeat.toml"),
}


if __name__ == "__main__":
    sys.exit(main())
