"""Optimisers and learning-rate schedules of a trial."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, ReduceLROnPlateau

from muster.config import TrialConfig

OPTIMIZERS: dict[str, type[Optimizer]] = {"adam": Adam, "adamw": AdamW}
Schedule = CosineAnnealingLR | ReduceLROnPlateau


def make_optimizer(config: TrialConfig, parameters: Iterable[Parameter]) -> Optimizer:
    """Adam (Kingma & Ba, 2015; L2 penalty) or AdamW (Loshchilov & Hutter, 2019; decoupled)."""
    kind = OPTIMIZERS[config.optimizer]
    # fused: one pass over all parameters a step instead of one kernel each.
    options = {"lr": config.learning_rate, "weight_decay": config.weight_decay, "fused": True}
    return kind(parameters, **options)  # type: ignore[arg-type]


def make_schedule(config: TrialConfig, optimizer: Optimizer) -> Schedule | None:
    """The schedule that is stepped after each epoch, or None."""
    if config.schedule == "cosine":
        return CosineAnnealingLR(optimizer, T_max=config.epochs)
    if config.schedule == "plateau":
        return ReduceLROnPlateau(
            optimizer, factor=config.plateau_factor, patience=config.plateau_patience
        )
    return None


def l1_penalty(parameters: Iterable[Parameter]) -> Tensor:
    """Sum of the absolute weights; biases and normalisation, which are vectors, left out."""
    return torch.stack([each.abs().sum() for each in parameters if each.dim() > 1]).sum()
