"""Small datasets and configurations that the tests of learning are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from inspect import signature
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from muster.config import Choice, TrialConfig
from muster.data.dataset import UNLABELLED, Dataset
from muster.data.folds import make_folds
from muster.data.preprocess import Preprocessor
from muster.data.schema import Schema, StaticColumn
from muster.evaluation import Evaluation, TrialResult
from muster.models import ARCHITECTURES
from muster.samples import Samples

CPU = torch.device("cpu")
CLASSES = ("a", "b", "c")


def make_dataset(
    sequences: int = 24,
    *,
    tests: int = 4,
    shortest: int = 4,
    longest: int = 9,
    channels: int = 2,
    seed: int = 0,
    **changes: Any,
) -> Dataset:
    """Sequences of three classes in turn, each class a level of its own; the last ones are tests.

    One static number that says nothing. changes: fields to replace.
    """
    rng = np.random.default_rng(seed)
    lengths = rng.integers(shortest, longest, sequences, endpoint=True)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    labels = np.arange(sequences) % len(CLASSES)
    values = rng.normal(size=(int(offsets[-1]), channels)) + np.repeat(labels, lengths)[:, None]
    is_test = np.arange(sequences) >= sequences - tests
    made = Dataset(
        name="levels",
        schema=Schema(
            channels=tuple(f"x{channel}" for channel in range(channels)),
            static=(StaticColumn(name="age"),),
            classes=CLASSES,
            description={},
        ),
        values=values.astype(np.float32),
        offsets=offsets,
        static=rng.normal(40.0, 9.0, (sequences, 1)).astype(np.float32),
        labels=np.where(is_test, UNLABELLED, labels).astype(np.int64),
        groups=None,
        is_test=is_test,
        identifiers=tuple(f"{number:03d}" for number in range(sequences)),
    )
    return replace(made, **changes)


def make_config(architecture: str = "gru", **changes: Any) -> TrialConfig:
    """Three epochs of a tiny model, batches of eight."""
    known = signature(ARCHITECTURES[architecture]).parameters
    # The recurrent layers' own size where there is one: what stands before them stays.
    size = next(name for name in ("hidden", "channels") if name in known)
    sizes = {size: 4}
    options = sizes | changes.pop("options", {})
    facts: dict[str, Any] = {
        "architecture": Choice(name=architecture, options=options),
        "learning_rate": 0.02,
        "batch_size": 8,
        "epochs": 3,
    }
    return TrialConfig(**(facts | changes))


def make_samples(
    dataset: Dataset,
    index: NDArray[np.int64] | None = None,
    *,
    window: int | None = None,
    stride: int | None = None,
    normalise: str = "standard",
) -> Samples:
    """The chosen sequences (default: all training ones), with a preprocessor of their own."""
    index = dataset.train_index if index is None else index
    preprocessor = Preprocessor.fit(dataset, index, normalise=normalise)
    return Samples(dataset, index, preprocessor, window=window, stride=stride, device=CPU)


def start(
    dataset: Dataset, config: TrialConfig, *, resume: bytes | None = None, **changes: Any
) -> Evaluation:
    """An evaluation over two folds of the dataset."""
    facts: dict[str, Any] = {
        "folds": make_folds(dataset, folds=2, seed=0),
        "metric": "macro_f1",
        "device": CPU,
    }
    return Evaluation(dataset, config=config, resume=resume, **(facts | changes))


def evaluate(
    dataset: Dataset,
    config: TrialConfig,
    *,
    between: Callable[[Evaluation], object] = lambda _: None,
    **changes: Any,
) -> TrialResult:
    """The whole trial; between is called at each report."""
    evaluation = start(dataset, config, **changes)
    for _ in evaluation.epochs():
        between(evaluation)
    return evaluation.result()


def assert_same_result(one: TrialResult, other: TrialResult) -> None:
    """To the bit, but for the seconds."""
    np.testing.assert_array_equal(one.probabilities, other.probabilities)
    np.testing.assert_array_equal(one.test_probabilities, other.test_probabilities)
    assert one.value == other.value
    assert one.fold_scores == other.fold_scores
    assert one.fold_models == other.fold_models
    assert [_timeless(each) for each in one.curves] == [_timeless(each) for each in other.curves]


def _timeless(report: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in report.items() if key != "seconds"}
