"""Convolutions and a transformer encoder."""

from __future__ import annotations

import itertools

from torch import Tensor, nn

from muster.models.base import GlobalPooling, Head, InputShape, Model, pooled, step_mask
from muster.models.convolution import ConvBlock, Size
from muster.models.encoder import Encoder


class Transformer(Model):
    """Convolution blocks that each halve the steps, self-attention over them, and global pooling.

    The encoder is heads * head_size wide.
    """

    def __init__(
        self,
        shape: InputShape,
        *,
        dropout: float = 0.0,
        channels: Size = 64,
        kernel: Size = 5,
        blocks: Size = 2,
        heads: Size = 4,
        head_size: Size = 16,
        layers: Size = 2,
        pooling: GlobalPooling = "mean",
    ) -> None:
        super().__init__()
        widths = [shape.channels] + [channels] * blocks
        self.pooling: GlobalPooling = pooling
        self.blocks = nn.ModuleList(
            ConvBlock(before, after, kernel=kernel, pool=True)
            for before, after in itertools.pairwise(widths)
        )
        self.encoder = Encoder(
            channels, heads=heads, head_size=head_size, layers=layers, dropout=dropout
        )
        self.head = Head(heads * head_size, shape, dropout=dropout)

    def forward(self, values: Tensor, lengths: Tensor | None, static: Tensor) -> Tensor:
        features = values.transpose(1, 2)
        for block in self.blocks:
            features, lengths = block(features, lengths)
        tokens = features.transpose(1, 2)
        mask = None if lengths is None else step_mask(lengths, tokens.shape[1])
        logits: Tensor = self.head(
            pooled(self.encoder(tokens, mask), lengths, self.pooling), static
        )
        return logits
