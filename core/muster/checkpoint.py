"""A trial between two epochs, saved so that any machine can go on with it."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.optim import Optimizer

from muster.errors import UserError
from muster.tensors import bytes_tensor, pack, unpack
from muster.training import Fit, RandomState

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


@dataclass(frozen=True)
class FitState:
    """A fit between two epochs, copied to the host: training on never changes it.

    facts: what JSON takes.
    """

    tensors: dict[str, Tensor]
    facts: dict[str, Any]

    @classmethod
    def of(cls, fit: Fit) -> FitState:
        """The state as it is now."""
        tensors = {name: tensor.to("cpu", copy=True) for name, tensor in _fit_tensors(fit)}
        facts = {
            "epoch": fit.epoch,
            "best_loss": fit.best_loss,
            "epochs_since_best": fit.epochs_since_best,
            "groups": [_without_params(group) for group in fit.optimizer.param_groups],
            "schedule": None if fit.schedule is None else copy.deepcopy(fit.schedule.state_dict()),
        }
        return cls(tensors, facts)


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


def load_progress(data: bytes, *, trial: dict[str, Any]) -> Progress:
    """The progress in a checkpoint. Raises UserError where it is damaged or another trial's."""
    tensors, content = _read(data)
    if content.get("trial") != trial:
        raise UserError(
            "the checkpoint belongs to another configuration, dataset or metric; start anew"
        )
    with _damage_named():
        count = len(content["fold_scores"])
        return Progress(
            probabilities=tensors["probabilities"].numpy().copy(),
            fold_scores=list(content["fold_scores"]),
            curves=list(content["curves"]),
            fold_models=[tensors[f"fold_model.{fold}"].numpy().tobytes() for fold in range(count)],
            micro_batch=content["micro_batch"],
        )


def restore_fit(data: bytes, fit: Fit, *, fold: int) -> None:
    """Bring a fresh fit of this fold to where the checkpoint was, if it was within a fold.

    Raises UserError where it is damaged.
    """
    tensors, content = _read(data)
    with _damage_named():
        saved = content["fit"]
        if saved is None:
            return
        if len(content["fold_scores"]) != fold:
            raise UserError(
                f"the checkpoint belongs to fold {len(content['fold_scores'])}, not {fold}"
            )
        fit.epoch = saved["epoch"]
        fit.best_loss = saved["best_loss"]
        fit.epochs_since_best = saved["epochs_since_best"]
        fit.best_weights = _below(tensors, "best")
        fit.model.load_state_dict(_below(tensors, "model"))
        state = _optimizer_state(tensors, saved["groups"], fit.optimizer)
        if fit.epoch and len(state["state"]) != len(list(fit.model.parameters())):
            raise ValueError("the optimiser's state is not whole")
        fit.optimizer.load_state_dict(state)
        if fit.average is not None:
            fit.average.load_state_dict(_below(tensors, "average"))
        if fit.schedule is not None:
            fit.schedule.load_state_dict(saved["schedule"])
        fit.random = RandomState(tensors["random.host"], tensors.get("random.device"))


@contextmanager
def _damage_named() -> Iterator[None]:
    try:
        yield
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise UserError(f"the checkpoint is damaged: {error!r}") from error


def _optimizer_state(
    tensors: dict[str, Tensor], groups: list[dict[str, Any]], optimizer: Optimizer
) -> dict[str, Any]:
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _below(tensors, "optimizer").items():
        position, key = name.split(".", 1)
        state.setdefault(int(position), {})[key] = tensor
    own_groups = optimizer.state_dict()["param_groups"]
    return {
        "state": state,
        "param_groups": [
            {**group, "params": own["params"]}
            for group, own in zip(groups, own_groups, strict=True)
        ],
    }


def _fit_tensors(fit: Fit) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in fit.model.state_dict().items():
        yield f"model.{name}", tensor
    for name, tensor in fit.best_weights.items():
        yield f"best.{name}", tensor
    if fit.average is not None:
        for name, tensor in fit.average.state_dict().items():
            yield f"average.{name}", tensor
    for position, state in fit.optimizer.state_dict()["state"].items():
        for key, tensor in state.items():
            yield f"optimizer.{position}.{key}", tensor
    yield "random.host", fit.random.host
    if fit.random.device is not None:
        yield "random.device", fit.random.device


def _without_params(group: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in group.items() if key != "params"}


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    start = f"{prefix}."
    return {k.removeprefix(start): tensor for k, tensor in tensors.items() if k.startswith(start)}


def _read(data: bytes) -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensors, content = unpack(data, what="the checkpoint")
    if content.get("format") != FORMAT:
        raise UserError(
            f"the checkpoint has format {content.get('format')!r}, this muster reads {FORMAT}"
        )
    return tensors, content
