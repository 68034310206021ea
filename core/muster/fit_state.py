"""A fit between two epochs, taken down and set up again."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from muster.config import TrialConfig
from muster.errors import DamagedCheckpoint
from muster.inference import is_out_of_memory
from muster.training import Fit, RandomState


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

    def restore(self, fit: Fit, config: TrialConfig) -> None:
        """Bring a fresh fit of this configuration to this state.

        Raises DamagedCheckpoint where anything is missing, of another size or no number.
        """
        with damage_named():
            facts = self.facts
            fit.epoch = facts["epoch"]
            fit.best_loss = float(facts["best_loss"])
            fit.epochs_since_best = facts["epochs_since_best"]
            if fit.epoch < 1 or fit.epochs_since_best < 0 or fit.is_finished(config):
                raise ValueError(f"no fit goes on after {fit.epoch} epochs")
            weights = _below(self.tensors, "model")
            if not all(bool(tensor.isfinite().all()) for tensor in weights.values()):
                raise ValueError("a weight is no number")
            fit.model.load_state_dict(weights)
            fit.best_weights = _below(self.tensors, "best")
            if fit.best_weights:
                _check_alike(fit.best_weights, fit.model.state_dict())
            _restore_optimizer(fit.optimizer, _below(self.tensors, "optimizer"), facts["groups"])
            if fit.average is not None:
                fit.average.load_state_dict(_below(self.tensors, "average"))
            if fit.schedule is not None:
                if facts["schedule"].keys() != fit.schedule.state_dict().keys():
                    raise ValueError("the learning-rate schedule is another")
                fit.schedule.load_state_dict(copy.deepcopy(facts["schedule"]))
            fit.random = self._random(next(fit.model.parameters()).device)

    def _random(self, device: torch.device) -> RandomState:
        state = RandomState(self.tensors["random.host"], self.tensors.get("random.device"))
        torch.Generator().set_state(state.host)
        if state.device is not None and device.type == "cuda":
            torch.Generator(device).set_state(state.device)
        return state


@contextmanager
def damage_named() -> Iterator[None]:
    """Raise DamagedCheckpoint for whatever goes wrong while a checkpoint is read."""
    try:
        yield
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        if isinstance(error, RuntimeError) and is_out_of_memory(error):
            raise
        raise DamagedCheckpoint(
            f"the checkpoint is damaged ({error!r}); the one before it will do"
        ) from error


def _restore_optimizer(
    optimizer: Optimizer, tensors: Mapping[str, Tensor], groups: list[dict[str, Any]]
) -> None:
    parameters = [each for group in optimizer.param_groups for each in group["params"]]
    state: dict[int, dict[str, Tensor]] = {position: {} for position in range(len(parameters))}
    for name, tensor in tensors.items():
        position, key = name.split(".", 1)
        # The optimiser would go on in the very tensor that it is given.
        state[int(position)][key] = tensor.clone()
    if not all(state.values()) or len({*map(frozenset, state.values())}) != 1:
        raise ValueError("the optimiser's state is not whole")
    for parameter, own_state in zip(parameters, state.values(), strict=True):
        for key, tensor in own_state.items():
            if tensor.dim() and tensor.shape != parameter.shape:
                raise ValueError(f"{key} of the optimiser has another size than its weight")
    own = optimizer.state_dict()["param_groups"]
    for group, theirs in zip(own, groups, strict=True):
        if _without_params(group).keys() != theirs.keys():
            raise ValueError("the optimiser is another")
        group.update(theirs)
    optimizer.load_state_dict({"state": state, "param_groups": own})


def _check_alike(tensors: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> None:
    sizes, expected = ({k: v.shape for k, v in each.items()} for each in (tensors, others))
    if sizes != expected:
        raise ValueError("the best weights are of another model")


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


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    start = f"{prefix}."
    return {k.removeprefix(start): tensor for k, tensor in tensors.items() if k.startswith(start)}
