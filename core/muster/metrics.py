"""Metrics of out-of-fold predictions, as scikit-learn defines them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Metric:
    """A figure of merit; compute(labels, probabilities) with (n,) and (n, classes)."""

    direction: Literal["maximize", "minimize"]
    compute: Callable[[Labels, NDArray[Any]], float]


def _sklearn() -> Any:
    """scikit-learn's metrics, whose import takes a second that only those who score should pay."""
    import sklearn.metrics  # noqa: PLC0415

    return sklearn.metrics


def _f1(average: str) -> Callable[[Labels, NDArray[Any]], float]:
    def compute(labels: Labels, probabilities: NDArray[Any]) -> float:
        predicted = probabilities.argmax(axis=1)
        return float(_sklearn().f1_score(labels, predicted, average=average, zero_division=0))

    return compute


def _accuracy(labels: Labels, probabilities: NDArray[Any]) -> float:
    return float(_sklearn().accuracy_score(labels, probabilities.argmax(axis=1)))


def _balanced_accuracy(labels: Labels, probabilities: NDArray[Any]) -> float:
    # Mean recall over the classes that have labels, without the warning of scikit-learn's own.
    predicted = probabilities.argmax(axis=1)
    return float(
        _sklearn().recall_score(
            labels, predicted, labels=np.unique(labels), average="macro", zero_division=0
        )
    )


def _log_loss(labels: Labels, probabilities: NDArray[Any]) -> float:
    exact = probabilities.astype(np.float64)
    exact = exact / exact.sum(axis=1, keepdims=True)
    return float(_sklearn().log_loss(labels, exact, labels=np.arange(probabilities.shape[1])))


METRICS: dict[str, Metric] = {
    "macro_f1": Metric("maximize", _f1("macro")),
    "weighted_f1": Metric("maximize", _f1("weighted")),
    "accuracy": Metric("maximize", _accuracy),
    "balanced_accuracy": Metric("maximize", _balanced_accuracy),
    "log_loss": Metric("minimize", _log_loss),
}


def score(metric: str, labels: Labels, probabilities: NDArray[Any]) -> float:
    """The metric of probabilities (n, classes) against labels (n,), int64 class indices."""
    return METRICS[metric].compute(labels, probabilities)
