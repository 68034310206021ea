"""What every architecture promises, and the parts that they share."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

GlobalPooling = Literal["mean", "max"]


@dataclass(frozen=True)
class InputShape:
    """Sizes that the data decides: channels and static features in, classes out."""

    channels: int
    static_features: int
    classes: int


class Model(nn.Module):
    """An architecture: __init__(shape, *, dropout, **options) and forward as below.

    Keyword-only arguments other than dropout are the options of a search space; their annotations
    give type and bounds. Padding never changes a result.
    """

    def forward(self, values: Tensor, lengths: Tensor | None, static: Tensor) -> Tensor:
        """Logits (batch, classes), unnormalised.

        values: (batch, steps, channels), zeros behind a sequence's end. lengths: (batch,) int64
        valid steps of each, at least 1; None where all sequences fill all steps.
        static: (batch, static features).
        """
        raise NotImplementedError


class Head(nn.Module):
    """Dropout and one linear layer, where the static features join: (batch, classes) logits."""

    def __init__(self, features: int, shape: InputShape, *, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(features + shape.static_features, shape.classes)

    def forward(self, features: Tensor, static: Tensor) -> Tensor:
        logits: Tensor = self.linear(torch.cat([self.dropout(features), static], dim=1))
        return logits


class Dense(nn.Module):
    """Dense layers, each with dropout before and ReLU behind it; without layers, nothing."""

    def __init__(self, features: int, *, layers: int, width: int, dropout: float) -> None:
        super().__init__()
        sizes = [features] + [width] * layers
        self.width = sizes[-1]
        self.layers = nn.ModuleList(
            nn.Linear(before, after) for before, after in itertools.pairwise(sizes)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: Tensor) -> Tensor:
        for layer in self.layers:
            features = functional.relu(layer(self.dropout(features)))
        return features


class MaskedBatchNorm(nn.BatchNorm1d):
    """Batch normalisation (Ioffe & Szegedy, 2015) whose statistics leave padded steps out."""

    def forward(self, values: Tensor, mask: Tensor | None = None) -> Tensor:
        """values: (batch, channels, steps). mask: (batch, 1, steps), true where valid, or None."""
        if self.training and values.shape[0] * values.shape[2] == 1:
            # A single step has no spread: it goes by what was seen before.
            return functional.batch_norm(
                values, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        if mask is None or not self.training:
            return super().forward(values)
        # Sums over many steps lose too much in bfloat16.
        values = values.float()
        weight = mask.to(values.dtype)
        count = weight.sum()
        mean = (values * weight).sum((0, 2)) / count
        centred = values - mean[:, None]
        variance = (centred.square() * weight).sum((0, 2)) / count
        self._track(mean.detach(), variance.detach(), count)
        scaled = centred * torch.rsqrt(variance + self.eps)[:, None]
        return scaled * self.weight[:, None] + self.bias[:, None]

    def _track(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        if self.running_mean is None or self.running_var is None:
            return
        unbiased = variance * count / (count - 1).clamp(min=1)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        # Without a momentum the statistics are the plain mean over all batches.
        momentum = self.momentum or 1.0 / int(self.num_batches_tracked or 1)
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(unbiased, momentum)


def step_mask(lengths: Tensor, steps: int) -> Tensor:
    """(batch, steps) bool, true at the valid steps. lengths: (batch,)."""
    return torch.arange(steps, device=lengths.device)[None, :] < lengths[:, None]


def masked_mean(values: Tensor, lengths: Tensor | None) -> Tensor:
    """Mean over the valid steps. values: (batch, steps, features); returns (batch, features)."""
    if lengths is None:
        return values.mean(dim=1)
    mask = step_mask(lengths, values.shape[1])[..., None]
    return torch.where(mask, values, 0.0).sum(dim=1) / lengths[:, None].to(values.dtype)


def pooled(values: Tensor, lengths: Tensor | None, pooling: GlobalPooling) -> Tensor:
    """Mean or maximum over the valid steps; shapes as in masked_mean."""
    if pooling == "mean":
        return masked_mean(values, lengths)
    if lengths is not None:
        mask = step_mask(lengths, values.shape[1])[..., None]
        values = values.masked_fill(~mask, torch.finfo(values.dtype).min)
    return values.amax(dim=1)
