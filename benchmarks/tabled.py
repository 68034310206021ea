"""A real search as a table: each configuration of a grid trained once, to be looked up later.

`python -m benchmarks.tabled` trains a small recurrent network on JapaneseVowels (which aeon
bundles) at every point of LEVELS, and keeps the macro-F1 of its out-of-fold predictions in
benchmarks/tables/japanese_vowels.json. What is there already is not trained again, so the same
command goes on where it stopped; in all it takes a quarter of an hour of one core.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any, Final

import torch
from rich.progress import track

from muster.config import Choice, TrialConfig
from muster.data.description import load_description
from muster.data.fingerprint import fingerprint
from muster.data.folds import make_folds
from muster.data.readers import read_dataset
from muster.evaluation import Evaluation
from muster_ensemble.files import write_file

TABLE: Final = Path(__file__).parent / "tables" / "japanese_vowels.json"
EXAMPLE: Final = Path(__file__).parents[1] / "examples" / "japanese_vowels.toml"
# In order, so that a search can tell what lies beside what.
LEVELS: Final[dict[str, tuple[Any, ...]]] = {
    "learning_rate": (0.001, 0.002, 0.005, 0.01, 0.02, 0.05),
    "dropout": (0.0, 0.15, 0.3, 0.5),
    "hidden": (16, 32, 64),
    "window": (10, 15, 20),
    "batch_size": (16, 32),
}
ARCHITECTURE: Final = "gru"
EPOCHS: Final = 8
FOLDS: Final = 3
SEED: Final = 0
METRIC: Final = "macro_f1"


def error(trial: Any) -> float:
    """One less the macro-F1 of the configuration that a trial asks for, by places in LEVELS."""
    places = {name: trial.suggest_int(name, 0, len(each) - 1) for name, each in LEVELS.items()}
    return 1.0 - _scores()[_key({name: LEVELS[name][place] for name, place in places.items()})]


def main() -> None:
    """Train what the table has not; it is written after each configuration."""
    torch.set_num_threads(1)
    dataset = read_dataset(load_description(EXAMPLE), base=EXAMPLE.parent)
    folds = make_folds(dataset, folds=FOLDS, seed=SEED)
    made = {
        "dataset": dataset.name,
        "fingerprint": fingerprint(dataset),
        "architecture": ARCHITECTURE,
        "epochs": EPOCHS,
        "folds": FOLDS,
        "seed": SEED,
        "metric": METRIC,
        "versions": {name: version(name) for name in ("muster", "torch")},
    }
    scores = json.loads(TABLE.read_text())["scores"] if TABLE.is_file() else {}
    for values in track([*product(*LEVELS.values())], description="training"):
        point = dict(zip(LEVELS, values, strict=True))
        if _key(point) in scores:
            continue
        evaluation = Evaluation(
            dataset, folds, _config(point), metric=METRIC, device=torch.device("cpu")
        )
        for _ in evaluation.epochs():
            pass
        scores[_key(point)] = evaluation.result().value
        facts = {"made": made, "levels": LEVELS, "scores": scores}
        write_file(TABLE, (json.dumps(facts, indent=1) + "\n").encode())


def _config(point: dict[str, Any]) -> TrialConfig:
    options = {"hidden": point["hidden"]}
    others = {name: value for name, value in point.items() if name not in options}
    architecture = Choice(name=ARCHITECTURE, options=options)
    return TrialConfig(architecture=architecture, epochs=EPOCHS, seed=SEED, **others)


def _key(point: dict[str, Any]) -> str:
    """The values of a configuration in the order of LEVELS, as the table names it."""
    return " ".join(str(point[name]) for name in LEVELS)


@cache
def _scores() -> dict[str, float]:
    scores: dict[str, float] = json.loads(TABLE.read_text())["scores"]
    return scores


if __name__ == "__main__":
    main()
