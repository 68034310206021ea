"""Loss functions over logits, and their registry.

Each returns the sum over the batch, every sample by its class's weight: a batch's mean is then the
sum over its parts by the mass of the whole, however it was cut.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from muster.config import Choice
from muster.options import option_problems

TINY = 1e-6


@dataclass(frozen=True)
class Loss:
    """A loss of the registry with its options; called, it gives the mean over a batch.

    total(logits, target): the sum over the batch. weight: (classes,) factors, or None.
    """

    total: Callable[[Tensor, Tensor], Tensor]
    weight: Tensor | None = None

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        """The mean: total over mass."""
        return self.total(logits, target) / self.mass(target)

    def mass(self, target: Tensor) -> Tensor | float:
        """What the samples weigh together: their number, where no class has a weight."""
        return float(len(target)) if self.weight is None else self.weight[target].sum()


def cross_entropy(
    logits: Tensor,
    target: Tensor,
    *,
    weight: Tensor | None = None,
    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0,
) -> Tensor:
    """Cross-entropy with label smoothing (Szegedy et al., 2016), the sum over the batch.

    logits: (batch, classes), unnormalised. target: (batch,), int64 class indices.
    weight: (classes,) per-class factors, or None.
    """
    return functional.cross_entropy(
        logits, target, weight=weight, label_smoothing=label_smoothing, reduction="sum"
    )


def focal(
    logits: Tensor,
    target: Tensor,
    *,
    weight: Tensor | None = None,
    gamma: Annotated[float, Field(ge=0.0)] = 2.0,
) -> Tensor:
    """Cross-entropy that counts well-classified samples less (Lin et al., 2017).

    Shapes as in cross_entropy. gamma = 0 is weighted cross-entropy.
    """
    log_probability = functional.log_softmax(logits, dim=1)
    picked = log_probability.gather(1, target[:, None]).squeeze(1)
    # Not below a tiny miss: with gamma < 1 the slope at 0 is infinite, and infinity * 0 is NaN.
    miss = (-torch.expm1(picked)).clamp(min=TINY)
    factor = miss.pow(gamma) if gamma else 1.0
    losses = -factor * picked
    return losses.sum() if weight is None else (losses * weight[target]).sum()


LOSSES: dict[str, Callable[..., Tensor]] = {"cross_entropy": cross_entropy, "focal": focal}


def check_options(name: str, options: Mapping[str, Any]) -> list[str]:
    """What is wrong with these options of a loss: one line a problem."""
    return option_problems(LOSSES[name], options, not_options=frozenset({"weight"}))


def build(choice: Choice, *, weight: Tensor | None) -> Loss:
    """The chosen loss as a function of logits and target alone."""
    return Loss(partial(LOSSES[choice.name], weight=weight, **choice.options), weight)
