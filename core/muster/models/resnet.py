"""Residual one-dimensional networks: of time series (Wang et al., 2017) and of ECGs."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from muster.models.base import GlobalPooling, Head, InputShape, Model, pooled
from muster.models.convolution import Doubling, ResidualBlock, Size, block_widths


class Resnet(Model):
    """Residual blocks of one to three convolutions and global pooling.

    The defaults are Wang et al.'s network. With more blocks, pool and squeeze it is the deeper
    kind that ECGs are read with (Hannun et al., 2019): pool halves the steps between blocks,
    squeeze adds squeeze-and-excitation (Hu et al., 2018) that narrows by this factor, 0 none.
    channels, doubling, kernel and dilation as in cnn.
    """

    def __init__(
        self,
        shape: InputShape,
        *,
        dropout: float = 0.0,
        channels: Size = 64,
        kernel: Size = 8,
        blocks: Size = 3,
        convolutions: Annotated[int, Field(ge=1, le=3)] = 3,
        doubling: Doubling = "once",
        dilation: Size = 1,
        squeeze: Annotated[int, Field(ge=0)] = 0,
        pool: bool = False,
        pooling: GlobalPooling = "mean",
    ) -> None:
        super().__init__()
        widths = [shape.channels, *block_widths(channels, blocks, doubling)]
        kernels = [max(1, round(kernel * share)) for share in (1.0, 5 / 8, 3 / 8)]
        self.pooling: GlobalPooling = pooling
        self.blocks = nn.ModuleList(
            ResidualBlock(
                widths[block],
                widths[block + 1],
                kernels=kernels[:convolutions],
                dilation=dilation**block,
                squeeze=squeeze,
                pool=pool and block < blocks - 1,
            )
            for block in range(blocks)
        )
        self.head = Head(widths[-1], shape, dropout=dropout)

    def forward(self, values: Tensor, lengths: Tensor | None, static: Tensor) -> Tensor:
        features = values.transpose(1, 2)
        for block in self.blocks:
            features, lengths = block(features, lengths)
        logits: Tensor = self.head(pooled(features.transpose(1, 2), lengths, self.pooling), static)
        return logits
