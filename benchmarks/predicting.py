"""How much of a bare PyTorch loop's throughput a bundle's prediction keeps.

Both predict the same sequences with the same fold models, in turns, in one process on one thread.
The bare loop has the batches ready, padded and scaled, as tensors: a softmax a batch, the mean of
the folds, an argmax. muster starts from the dataset: it scales anew for each fold, cuts windows,
votes. Run `make bench-predict`; the figures also go to benchmarks/results/predicting.json. The
clock is the process's own, so that other programs do not count. Exits 1 below the target.
"""

from __future__ import annotations

import json
import platform
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from muster.config import Choice, TrialConfig
from muster.data.dataset import Dataset
from muster.data.preprocess import Preprocessor
from muster.data.schema import Schema
from muster.fold_model import FoldModel, input_shape, make_model
from muster.inference import EVALUATION_BATCH
from muster_ensemble.bundle import Bundle, Member
from muster_ensemble.predict import Predictor

RESULTS = Path(__file__).parent / "results" / "predicting.json"
SEQUENCES, STEPS, CHANNELS, FOLDS, ROUNDS = 1024, 64, 4, 2, 7
ARCHITECTURES = ("cnn", "gru", "lstm")
TARGET = 0.8
Batch = tuple[Tensor, None, Tensor]


def main() -> int:
    """Measure, print, write; 1 where the target is missed."""
    torch.set_num_threads(1)
    dataset = make_dataset()
    predictor = make_predictor(dataset)
    batches = [[make_batches(dataset, fold) for fold in folds] for folds in predictor.members]
    index = np.arange(len(dataset), dtype=np.int64)
    shares, seconds = [], {"bare": [0.0], "muster": [0.0]}
    for _ in range(ROUNDS):
        started = time.process_time()
        bare = bare_loop(predictor, batches)
        middle = time.process_time()
        found = predictor.predict_proba(dataset, index=index)
        ended = time.process_time()
        seconds["bare"].append(middle - started)
        seconds["muster"].append(ended - middle)
        shares.append((middle - started) / (ended - middle))
        if (bare != found.argmax(axis=1)).mean() > 0.001:
            raise RuntimeError("the two loops decide differently")
    share = statistics.median(shares)
    report = {
        "sequences": SEQUENCES,
        "steps": STEPS,
        "channels": CHANNELS,
        "members": list(ARCHITECTURES),
        "folds": FOLDS,
        "sequences_per_second": {
            name: round(SEQUENCES / statistics.median(each[1:])) for name, each in seconds.items()
        },
        "share_of_bare_loop": round(share, 3),
        "target": TARGET,
        "torch": torch.__version__,
        "machine": platform.machine(),
    }
    RESULTS.write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))
    return int(share < TARGET)


def make_dataset() -> Dataset:
    """Noise, which takes as long to predict as anything."""
    rng = np.random.default_rng(0)
    names = tuple(f"channel_{number}" for number in range(CHANNELS))
    description = {"name": "noise", "format": "npz", "train": {"values": "noise.npz"}}
    return Dataset(
        name="noise",
        schema=Schema(channels=names, classes=("a", "b", "c"), description=description),
        values=rng.normal(size=(SEQUENCES * STEPS, CHANNELS)).astype(np.float32),
        offsets=np.arange(SEQUENCES + 1, dtype=np.int64) * STEPS,
        static=np.zeros((SEQUENCES, 0), dtype=np.float32),
        labels=rng.integers(0, 3, size=SEQUENCES),
        groups=None,
        is_test=np.zeros(SEQUENCES, dtype=np.bool_),
        identifiers=tuple(map(str, range(SEQUENCES))),
    )


def make_predictor(dataset: Dataset) -> Predictor:
    """Untrained members of the architectures' default sizes."""
    members, shape = [], input_shape(dataset)
    for number, name in enumerate(ARCHITECTURES):
        config = TrialConfig(architecture=Choice(name=name), seed=number)
        folds = []
        for fold in range(FOLDS):
            torch.manual_seed(10 * number + fold)
            rows = dataset.train_index[fold::FOLDS]
            fitted = Preprocessor.fit(dataset, rows, normalise="standard")
            model = make_model(config, shape, fitted).eval()
            folds.append(FoldModel(config, shape, fitted, model))
        members.append((Member(number, config, ()), tuple(folds)))
    bundle = Bundle(dataset.schema, tuple(m for m, _ in members), "soft", "macro_f1", "", "0")
    return Predictor(bundle, tuple(folds for _, folds in members), torch.device("cpu"))


def make_batches(dataset: Dataset, fold: FoldModel) -> list[Batch]:
    """All sequences, scaled for the fold, as tensors of the size that muster takes at once."""
    index = np.arange(len(dataset), dtype=np.int64)
    values, _, static = fold.preprocessor.transform(dataset, index)
    whole = torch.from_numpy(values).view(len(dataset), STEPS, -1)
    cut = [torch.from_numpy(static).split(EVALUATION_BATCH), whole.split(EVALUATION_BATCH)]
    return [(rows, None, features) for features, rows in zip(*cut, strict=True)]


@torch.inference_mode()
def bare_loop(predictor: Predictor, batches: list[list[list[Batch]]]) -> np.ndarray:
    """(sequences,) decisions of the mean over members and folds."""
    total = torch.zeros(SEQUENCES, 3)
    for folds, of_member in zip(predictor.members, batches, strict=True):
        for fold, of_fold in zip(folds, of_member, strict=True):
            total += torch.cat([fold.model(*batch).softmax(dim=1) for batch in of_fold])
    return total.argmax(dim=1).numpy()


if __name__ == "__main__":
    sys.exit(main())
