"""No step of a validation sequence enters a training batch, however windows are drawn and mixed.

Sequence i is 1 in channel i and 0 in all others, and so are all its windows, copies and mixtures:
the channels that a batch is not 0 in are the sequences it was made of.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from learning import make_config, make_dataset, start
from muster.config import Choice
from muster.data.dataset import Dataset
from muster.data.folds import make_folds
from muster.models import ARCHITECTURES
from muster.models.base import Head, InputShape, Model

SEQUENCES = 18
MIXING = {"mixup": 0.4, "time_warp": 0.3, "scaling": 0.1, "mirror": 0.2}


class Spy(Model):
    """A linear model that notes which sequences it was trained on, and which it only saw."""

    trained: set[int]
    seen: set[int]

    def __init__(self, shape: InputShape, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.head = Head(shape.channels, shape, dropout=dropout)

    def forward(self, values: Tensor, lengths: Tensor | None, static: Tensor) -> Tensor:
        found = set(values.abs().sum((0, 1)).nonzero().flatten().tolist())
        (Spy.trained if self.training else Spy.seen).update(found)
        logits: Tensor = self.head(values.mean(dim=1), static)
        return logits


@pytest.fixture(autouse=True)
def spy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ARCHITECTURES, "spy", Spy)


def make_marked(*, longest: int) -> Dataset:
    """Classes of 9, 6 and 3, the last sequences unlabelled tests."""
    dataset = make_dataset(SEQUENCES, tests=2, shortest=6, longest=longest)
    labels = np.where(dataset.is_test, -1, np.repeat([0, 1, 2], [8, 5, 5]))
    marks = np.repeat(np.eye(SEQUENCES, dtype=np.float32), dataset.lengths, axis=0)
    channels = tuple(f"sequence{number}" for number in range(SEQUENCES))
    schema = dataset.schema.model_copy(update={"channels": channels})
    return replace(dataset, values=marks, labels=labels, schema=schema)


@pytest.mark.parametrize("sampler", ["none", "weighted", "oversample", "smote"])
@pytest.mark.parametrize("window", [None, 2, 6])
@pytest.mark.parametrize("mixing", [{}, MIXING], ids=["plain", "mixed"])
@pytest.mark.parametrize("patience", [None, 9], ids=["no holdout", "holdout"])
def test_no_step_of_a_validation_sequence_is_ever_trained_on(
    sampler: Any, window: int | None, mixing: dict[str, Any], patience: int | None
) -> None:
    dataset = make_marked(longest=6 if window is None else 9)
    folds = make_folds(dataset, folds=2, seed=0)
    config = make_config(
        sampler=sampler,
        window=window,
        stride=1,
        normalise="none",
        patience=patience,
        epochs=2,
        swa_start=0.1,
        batch_size=4,
        **mixing,
    ).model_copy(update={"architecture": Choice(name="spy")})
    evaluation = start(dataset, config, folds=folds)
    Spy.trained, Spy.seen = set(), set()
    for report in evaluation.epochs():
        if report.fold_ended:
            allowed = set(np.flatnonzero((folds >= 0) & (folds != report.fold)).tolist())
            validated = set(np.flatnonzero(folds == report.fold).tolist())
            assert Spy.trained
            assert Spy.trained <= allowed
            held_out = allowed & Spy.seen
            assert Spy.trained.isdisjoint(held_out)
            assert validated <= Spy.seen
            if patience is None and sampler != "weighted":
                assert Spy.trained == allowed
            Spy.trained, Spy.seen = set(), set()


def test_the_spy_notices_a_leak() -> None:
    dataset = make_marked(longest=6)
    config = make_config(normalise="none").model_copy(update={"architecture": Choice(name="spy")})
    # Folds that do not tell the sequences apart: what is validated in one is trained in the other.
    Spy.trained, Spy.seen = set(), set()
    for _ in start(dataset, config).epochs():
        pass
    assert Spy.trained & Spy.seen
    assert torch.tensor(sorted(Spy.trained)).max() < SEQUENCES - 2
