"""One InceptionTime network (Fawaz et al., 2020); the paper's ensemble is muster's vote."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from muster.models.base import GlobalPooling, Head, InputShape, MaskedBatchNorm, Model, pooled
from muster.models.convolution import Convolution, Size, channel_mask, zero_behind

# Modules that one residual connection goes around.
RESIDUAL_EVERY = 3


class InceptionModule(nn.Module):
    """Three kernels of different lengths and a max pooling, side by side; four times channels."""

    def __init__(self, channels_in: int, channels: int, *, kernel: int, bottleneck: int) -> None:
        super().__init__()
        is_narrowed = bottleneck > 0 and channels_in > 1
        self.bottleneck = (
            Convolution(channels_in, bottleneck, kernel=1) if is_narrowed else nn.Identity()
        )
        width = bottleneck if is_narrowed else channels_in
        self.branches = nn.ModuleList(
            Convolution(width, channels, kernel=max(1, kernel // share)) for share in (1, 2, 4)
        )
        self.pooled = Convolution(channels_in, channels, kernel=1)
        self.normalisation = MaskedBatchNorm(channels * 4)

    def forward(self, values: Tensor, mask: Tensor | None) -> Tensor:
        narrow = self.bottleneck(values)
        pooled_values = zero_behind(highest_of_three(values, mask), mask)
        found = [branch(narrow) for branch in self.branches] + [self.pooled(pooled_values)]
        normalised = self.normalisation(torch.cat(found, dim=1), mask)
        return zero_behind(functional.relu(normalised), mask)


def highest_of_three(values: Tensor, mask: Tensor | None) -> Tensor:
    """Each step's maximum over itself and its valid neighbours; behind the ends, anything."""
    # The padding must lose against a valid step that is below zero.
    lowest = torch.finfo(values.dtype).min
    if mask is not None:
        values = values.masked_fill(~mask, lowest)
    around = functional.pad(values, (1, 1), value=lowest)
    # Not max_pool1d: where windows overlap, its gradient is summed in no fixed order on a GPU.
    return torch.maximum(torch.maximum(around[..., :-2], values), around[..., 2:])


class InceptionTime(Model):
    """Inception modules with a residual connection around every three, and global pooling.

    channels: of each of a module's four branches. kernel: steps of the longest kernel; the others
    have half and a quarter. bottleneck: channels before the kernels, 0 without.
    """

    def __init__(
        self,
        shape: InputShape,
        *,
        dropout: float = 0.0,
        channels: Size = 32,
        kernel: Size = 40,
        depth: Size = 6,
        bottleneck: Annotated[int, Field(ge=0)] = 32,
        residual: bool = True,
        pooling: GlobalPooling = "mean",
    ) -> None:
        super().__init__()
        width = channels * 4
        self.pooling: GlobalPooling = pooling
        self.modules_in_turn = nn.ModuleList(
            InceptionModule(
                width if position else shape.channels,
                channels,
                kernel=kernel,
                bottleneck=bottleneck,
            )
            for position in range(depth)
        )
        ways = depth // RESIDUAL_EVERY if residual else 0
        self.shortcuts = nn.ModuleList(
            Convolution(width if way else shape.channels, width, kernel=1) for way in range(ways)
        )
        self.shortcut_norms = nn.ModuleList(MaskedBatchNorm(width) for _ in range(ways))
        self.head = Head(width, shape, dropout=dropout)

    def forward(self, values: Tensor, lengths: Tensor | None, static: Tensor) -> Tensor:
        mask = channel_mask(lengths, values.shape[1])
        features = around = values.transpose(1, 2)
        for position, module in enumerate(self.modules_in_turn):
            features = module(features, mask)
            way, rest = divmod(position, RESIDUAL_EVERY)
            if rest == RESIDUAL_EVERY - 1 and way < len(self.shortcuts):
                shortcut = self.shortcut_norms[way](self.shortcuts[way](around), mask)
                features = zero_behind(functional.relu(features + shortcut), mask)
                around = features
        logits: Tensor = self.head(pooled(features.transpose(1, 2), lengths, self.pooling), static)
        return logits
