"""A one-dimensional convolutional network of three blocks."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from muster.models.base import Head, InputShape, MaskedBatchNorm, Model, masked_mean, step_mask

BLOCKS = 3


class ConvBlock(nn.Module):
    """Convolution, batch normalisation, ReLU and, with pool, max pooling by two."""

    def __init__(self, channels_in: int, channels_out: int, *, kernel: int, pool: bool) -> None:
        super().__init__()
        self.pool = pool
        # The normalisation that follows has a bias of its own.
        self.convolution = nn.Conv1d(
            channels_in, channels_out, kernel, padding=kernel // 2, bias=False
        )
        self.normalisation = MaskedBatchNorm(channels_out)

    def forward(self, values: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """values: (batch, channels, steps), zeros behind each end; so is what is returned."""
        mask = None if lengths is None else step_mask(lengths, values.shape[2])[:, None]
        # An even kernel gives one step more than it was given.
        convolved = self.convolution(values)[..., : values.shape[2]]
        values = functional.relu(self.normalisation(convolved, mask))
        if mask is not None:
            values = torch.where(mask, values, 0.0)
        if self.pool:
            # Behind a ReLU the zeros of the padding never win against a valid step.
            values = functional.max_pool1d(values, 2, ceil_mode=True)
            lengths = None if lengths is None else (lengths + 1) // 2
        return values, lengths


class Cnn(Model):
    """Three convolution blocks of rising width and global average pooling.

    channels: of the first block, twice as many in the two after it. kernel: steps of the first
    block's kernel; the later ones are shorter (as in Wang et al., 2017: 8, 5, 3).
    """

    def __init__(
        self,
        shape: InputShape,
        *,
        dropout: float = 0.0,
        channels: Annotated[int, Field(ge=1)] = 64,
        kernel: Annotated[int, Field(ge=1)] = 7,
        pool: bool = True,
    ) -> None:
        super().__init__()
        widths = [shape.channels, channels, channels * 2, channels * 2]
        kernels = [kernel, max(1, round(kernel * 0.7)), max(1, round(kernel * 0.4))]
        self.blocks = nn.ModuleList(
            ConvBlock(
                widths[block],
                widths[block + 1],
                kernel=kernels[block],
                pool=pool and block < BLOCKS - 1,
            )
            for block in range(BLOCKS)
        )
        self.head = Head(widths[-1], shape, dropout=dropout)

    def forward(self, values: Tensor, lengths: Tensor | None, static: Tensor) -> Tensor:
        features = values.transpose(1, 2)
        for block in self.blocks:
            features, lengths = block(features, lengths)
        logits: Tensor = self.head(masked_mean(features.transpose(1, 2), lengths), static)
        return logits
