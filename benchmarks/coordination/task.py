"""The search that both sides run: the same parameters, curve, sampler and pruner."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Final

import numpy as np

from muster.data.dataset import Dataset
from muster.data.schema import Schema
from muster.evaluation import EpochReport, TrialResult
from muster.space import parse_space
from muster_db import datasets
from muster_db.contract import Contract
from muster_db.study import Study, create_study

REPORTS: Final = 10
# Eight floats and one choice, under the names that a space file knows.
FLOATS: Final[dict[str, tuple[float, float]]] = {
    "learning_rate": (1e-4, 1e-2),
    "dropout": (0.0, 0.6),
    "class_weight": (0.0, 1.0),
    "weight_decay": (1e-6, 1e-2),
    "l1": (1e-9, 1e-4),
    "gradient_clip": (0.1, 10.0),
    "holdout": (0.05, 0.3),
    "loss.focal.gamma": (0.5, 4.0),
}
CHOICE: Final = ("architecture.gru.hidden", (16, 32, 64))
SPACE: Final[dict[str, Any]] = {
    "epochs": REPORTS,
    **{
        name: {"low": low, "high": high} for name, (low, high) in FLOATS.items() if "." not in name
    },
    "loss": {"choose": ["focal"], "focal": {"gamma": {"low": 0.5, "high": 4.0}}},
    "architecture": {"choose": ["gru"], "gru": {"hidden": {"choices": list(CHOICE[1])}}},
}


def value_of(params: dict[str, Any]) -> float:
    """A smooth bowl over the parameters, each brought to 0 to 1."""
    total = 0.0
    for name, (low, high) in FLOATS.items():
        total += ((params[name] - low) / (high - low) - 0.4) ** 2
    return -total - 0.01 * CHOICE[1].index(params[CHOICE[0]])


@dataclass
class Clock:
    """When things happened in one worker; seconds of time.perf_counter.

    waits: per epoch, what passed between its end and the next one's start. gaps: per trial, what
    passed between the end of the one before and its first epoch.
    """

    waits: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    ended_at: float | None = None
    first_at: float | None = None

    def begin(self) -> None:
        """A trial's first epoch begins."""
        now = time.perf_counter()
        self.first_at = self.first_at or now
        if self.ended_at is not None:
            self.gaps.append(now - self.ended_at)

    def end(self) -> None:
        """A trial's last epoch has ended and been reported."""
        self.ended_at = time.perf_counter()


class Pretence:
    """Stands in for an Evaluation: its epochs take epoch_seconds and find value_of the params."""

    micro_batch = None

    def __init__(self, params: dict[str, Any], clock: Clock, epoch_seconds: float) -> None:
        self._value = value_of(params)
        self._clock = clock
        self._epoch_seconds = epoch_seconds

    def epochs(self, *, should_stop: Any = None) -> Iterator[EpochReport]:
        """REPORTS epochs of the same score, so that nobody prunes."""
        self._clock.begin()
        for epoch in range(REPORTS):
            time.sleep(self._epoch_seconds)
            is_last = epoch == REPORTS - 1
            scores = (self._value,) if is_last else ()
            ended_at = time.perf_counter()
            yield EpochReport(0, epoch, 0.0, 0.5, 0.0, is_last, scores, epoch + 1)
            self._clock.waits.append(time.perf_counter() - ended_at)
        self._clock.end()

    def result(self, *, should_stop: Any = None) -> TrialResult:
        """The value, and no more than plain Optuna stores."""
        nothing = np.zeros((0, 0), dtype=np.float32)
        return TrialResult(self._value, nothing, nothing, (self._value,), [], (), 0.0)

    def checkpoint(self) -> bytes:
        """Nothing to go on from."""
        return b""


def make_study(
    engine: Any, *, name: str, budget: int, seed: int = 1, direction: str = "maximize"
) -> Study:
    """A study of this search on an initialised database."""
    dataset = tiny_dataset()
    space = {"space": SPACE}
    contract = Contract(
        dataset_fingerprint=datasets.store(engine, dataset),
        dataset_name=dataset.name,
        dataset_schema=dataset.schema,
        folds=(0,) * len(dataset),
        metric="accuracy",
        direction=direction,
        space=space,
        seed=seed,
        steps_per_fold=parse_space(space, place="benchmark").max_epochs + 1,
        code_version=version("muster"),
    )
    return create_study(engine, name=name, contract=contract, budget=budget)


def tiny_dataset() -> Dataset:
    """Eight sequences of two steps, which nobody looks at."""
    return Dataset(
        name="pretence",
        schema=Schema(channels=("x",), classes=("a", "b"), description={"format": "npz"}),
        values=np.arange(16, dtype=np.float32)[:, None],
        offsets=np.arange(0, 17, 2, dtype=np.int64),
        static=np.zeros((8, 0), dtype=np.float32),
        labels=np.arange(8, dtype=np.int64) % 2,
        groups=None,
        is_test=np.zeros(8, dtype=bool),
        identifiers=tuple(str(number) for number in range(8)),
    )
