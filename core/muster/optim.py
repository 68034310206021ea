"""Optimisers and learning-rate schedules of a trial."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    LambdaLR,
    OneCycleLR,
    ReduceLROnPlateau,
)

from muster.config import TrialConfig

OPTIMIZERS: dict[str, type[Optimizer]] = {"adam": Adam, "adamw": AdamW}
Schedule = CosineAnnealingLR | LambdaLR | OneCycleLR | ReduceLROnPlateau


def make_optimizer(config: TrialConfig, parameters: Iterable[Parameter]) -> Optimizer:
    """Adam (Kingma & Ba, 2015; L2 penalty) or AdamW (Loshchilov & Hutter, 2019; decoupled)."""
    kind = OPTIMIZERS[config.optimizer]
    # fused: one pass over all parameters a step instead of one kernel each.
    options = {"lr": config.learning_rate, "weight_decay": config.weight_decay, "fused": True}
    return kind(parameters, **options)  # type: ignore[arg-type]


def make_schedule(
    config: TrialConfig, optimizer: Optimizer, *, steps_per_epoch: int
) -> Schedule | None:
    """The schedule, or None.

    plateau and cosine (Loshchilov & Hutter, 2017) are stepped after each epoch; one_cycle (Smith &
    Topin, 2018) and warmup_cosine, which is linear up and a half cosine down, after each batch.
    """
    steps = config.epochs * steps_per_epoch
    if config.schedule == "cosine":
        return CosineAnnealingLR(optimizer, T_max=config.epochs)
    if config.schedule == "plateau":
        return ReduceLROnPlateau(
            optimizer, factor=config.plateau_factor, patience=config.plateau_patience
        )
    if config.schedule == "one_cycle":
        # torch divides by zero where the rate is to rise for no step at all.
        rising = max(config.warmup, 2 / steps) if steps > 2 else 0.1
        return OneCycleLR(optimizer, config.learning_rate, total_steps=steps, pct_start=rising)
    if config.schedule == "warmup_cosine":
        rising = max(1, round(config.warmup * steps))
        return LambdaLR(optimizer, lambda step: warmup_cosine(step, rising=rising, steps=steps))
    return None


def step_batch(schedule: Schedule | None) -> None:
    """Step a schedule that goes by batches; no other."""
    if isinstance(schedule, LambdaLR | OneCycleLR):
        schedule.step()


def step_epoch(schedule: Schedule | None, watched: float) -> None:
    """Step a schedule that goes by epochs; no other. watched: the loss that a plateau is of."""
    if isinstance(schedule, ReduceLROnPlateau):
        schedule.step(watched)
    elif isinstance(schedule, CosineAnnealingLR):
        schedule.step()


def warmup_cosine(step: int, *, rising: int, steps: int) -> float:
    """The share of the learning rate at this step, counted from 0: never 0 within steps."""
    if step < rising:
        return (step + 1) / rising
    done = (step - rising) / max(1, steps - rising)
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))


def l1_penalty(parameters: Iterable[Parameter]) -> Tensor:
    """Sum of the absolute weights; biases and normalisation, which are vectors, left out."""
    return torch.stack([each.abs().sum() for each in parameters if each.dim() > 1]).sum()
