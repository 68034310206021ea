"""A one-dimensional convolutional network of a few blocks."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from muster.models.base import Dense, GlobalPooling, Head, InputShape, Model, pooled
from muster.models.convolution import ConvBlock, Doubling, Size, block_widths


class Cnn(Model):
    """Convolution blocks, global pooling and dense layers.

    channels: of the first block; doubling: whether the blocks after it have twice as many (once)
    or each twice its predecessor's (64-128-256). kernel: steps of the first block's kernel; the
    later ones are shorter (as in Wang et al., 2017: 8, 5, 3). pool: max pooling between blocks.
    dilation: of the second block; of each further one, as many times its predecessor's.
    dense: layers of dense_width before the last one.
    """

    def __init__(
        self,
        shape: InputShape,
        *,
        dropout: float = 0.0,
        channels: Size = 64,
        kernel: Size = 7,
        pool: bool = True,
        blocks: Size = 3,
        doubling: Doubling = "once",
        dilation: Size = 1,
        pooling: GlobalPooling = "mean",
        dense: Annotated[int, Field(ge=0)] = 0,
        dense_width: Size = 128,
    ) -> None:
        super().__init__()
        widths = [shape.channels, *block_widths(channels, blocks, doubling)]
        kernels = [kernel, max(1, round(kernel * 0.7)), max(1, round(kernel * 0.4))]
        self.pooling: GlobalPooling = pooling
        self.blocks = nn.ModuleList(
            ConvBlock(
                widths[block],
                widths[block + 1],
                kernel=kernels[min(block, 2)],
                pool=pool and block < blocks - 1,
                dilation=dilation**block,
            )
            for block in range(blocks)
        )
        self.dense = Dense(widths[-1], layers=dense, width=dense_width, dropout=dropout)
        self.head = Head(self.dense.width, shape, dropout=dropout)

    def forward(self, values: Tensor, lengths: Tensor | None, static: Tensor) -> Tensor:
        features = values.transpose(1, 2)
        for block in self.blocks:
            features, lengths = block(features, lengths)
        summary = pooled(features.transpose(1, 2), lengths, self.pooling)
        logits: Tensor = self.head(self.dense(summary), static)
        return logits
