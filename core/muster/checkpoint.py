"""A trial between two epochs, saved so that any machine can go on with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from muster.errors import DamagedCheckpoint, UserError
from muster.fit_state import FitState, damage_named
from muster.tensors import bytes_tensor, pack, unpack

FORMAT = 2


@dataclass
class Progress:
    """What the finished folds have left, and the curves so far.

    probabilities: (len(dataset), classes) out-of-fold, NaN where no fold has predicted yet.
    curves: one EpochReport each, as plain data. fold_models: FoldModel bytes.
    micro_batch: windows that go through the device at once, after it ran out of memory.
    """

    probabilities: NDArray[np.float32]
    fold_scores: list[float] = field(default_factory=list)
    curves: list[dict[str, Any]] = field(default_factory=list)
    fold_models: list[bytes] = field(default_factory=list)
    micro_batch: int | None = None

    @classmethod
    def empty(cls, sequences: int, classes: int) -> Progress:
        """Before the first fold."""
        return cls(np.full((sequences, classes), np.nan, dtype=np.float32))

    def end_fold(
        self, index: NDArray[np.int64], predicted: NDArray[np.float32], score: float, model: bytes
    ) -> None:
        """Keep a finished fold: predicted (len(index), classes) of its validation sequences."""
        self.probabilities[index] = predicted
        self.fold_scores.append(score)
        self.fold_models.append(model)


def save_checkpoint(progress: Progress, state: FitState | None, *, trial: dict[str, Any]) -> bytes:
    """The progress, and the fit of the running fold where there is one.

    trial: plain data that tells one trial from another.
    """
    tensors = {"probabilities": torch.from_numpy(progress.probabilities)}
    for fold, model in enumerate(progress.fold_models):
        tensors[f"fold_model.{fold}"] = bytes_tensor(model)
    content: dict[str, Any] = {
        "format": FORMAT,
        "trial": trial,
        "fold_scores": progress.fold_scores,
        "curves": progress.curves,
        "micro_batch": progress.micro_batch,
        "fit": None,
    }
    if state is not None:
        tensors |= state.tensors
        content["fit"] = state.facts
    return pack(tensors, content)


def load_checkpoint(
    data: bytes, *, trial: dict[str, Any], folds: NDArray[np.int64]
) -> tuple[Progress, FitState | None]:
    """What save_checkpoint was given. folds: (len(dataset),), negative for never validated on.

    Raises DamagedCheckpoint where it is torn, of another format or another trial's.
    """
    tensors, content = _read(data)
    if content.get("trial") != trial:
        raise DamagedCheckpoint(
            "the checkpoint belongs to another configuration, dataset or metric; start anew"
        )
    with damage_named():
        count = len(content["fold_scores"])
        progress = Progress(
            probabilities=tensors.pop("probabilities").numpy().copy(),
            fold_scores=[float(each) for each in content["fold_scores"]],
            curves=list(content["curves"]),
            fold_models=[
                tensors.pop(f"fold_model.{fold}").numpy().tobytes() for fold in range(count)
            ],
            micro_batch=content["micro_batch"],
        )
        state = None if content["fit"] is None else FitState(tensors, content["fit"])
        _check_progress(progress, folds, is_within_fold=state is not None)
    return progress, state


def _check_progress(progress: Progress, folds: NDArray[np.int64], *, is_within_fold: bool) -> None:
    finished = len(progress.fold_scores)
    if finished + is_within_fold > folds.max() + 1:
        raise ValueError(f"there is no fold {finished}")
    is_predicted = np.isfinite(progress.probabilities).all(axis=1)
    if not np.array_equal(is_predicted, (folds >= 0) & (folds < finished)):
        raise ValueError("predictions are not those of the finished folds")
    if sum(bool(each["fold_ended"]) for each in progress.curves) != finished:
        raise ValueError("curves are not those of the finished folds")
    if progress.micro_batch is not None and progress.micro_batch < 1:
        raise ValueError(f"micro_batch is {progress.micro_batch}")


def _read(data: bytes) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        tensors, content = unpack(data, what="the checkpoint")
    except UserError as error:
        raise DamagedCheckpoint(str(error)) from error
    if content.get("format") != FORMAT:
        raise DamagedCheckpoint(
            f"the checkpoint has format {content.get('format')!r}, this muster reads {FORMAT}; "
            "use the version that wrote it, or start the trial anew"
        )
    return tensors, content
