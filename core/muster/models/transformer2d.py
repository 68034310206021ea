"""Two-dimensional convolutions with squeeze-and-excitation and a transformer encoder."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from muster.models.base import Head, InputShape, Model
from muster.models.convolution import Size
from muster.models.encoder import Encoder
from muster.models.plane import PlaneBlock, fold, pooled_cells


class Transformer2d(Model):
    """Dilated residual blocks over the folded sequence, then self-attention over the cells left.

    width as in cnn2d, squeeze as in resnet, heads and head_size as in transformer. Each block
    halves rows and columns; dilation is the second block's, its square the third's.
    """

    def __init__(
        self,
        shape: InputShape,
        *,
        dropout: float = 0.0,
        width: Size = 16,
        channels: Size = 32,
        kernel: Size = 3,
        blocks: Size = 2,
        dilation: Size = 2,
        squeeze: Annotated[int, Field(ge=0)] = 8,
        heads: Size = 4,
        head_size: Size = 16,
        layers: Size = 2,
    ) -> None:
        super().__init__()
        self.width = width
        self.blocks = nn.ModuleList(
            PlaneBlock(
                channels if block else shape.channels,
                channels,
                kernel=kernel,
                dilation=dilation**block,
                squeeze=squeeze,
            )
            for block in range(blocks)
        )
        self.encoder = Encoder(
            channels, heads=heads, head_size=head_size, layers=layers, dropout=dropout
        )
        self.head = Head(heads * head_size, shape, dropout=dropout)

    def forward(self, values: Tensor, lengths: Tensor | None, static: Tensor) -> Tensor:
        plane, mask = fold(values, lengths, width=self.width)
        for block in self.blocks:
            plane, mask = block(plane, mask)
        encoded = self.encoder(plane.flatten(2).transpose(1, 2), mask.flatten(1))
        found = encoded.transpose(1, 2).unflatten(2, mask.shape[2:])
        summary = pooled_cells(torch.where(mask, found, 0.0), mask, "mean")
        logits: Tensor = self.head(summary, static)
        return logits
