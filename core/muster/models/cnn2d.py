"""A two-dimensional residual network over the sequence folded into a plane."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from muster.models.base import GlobalPooling, Head, InputShape, Model
from muster.models.convolution import Doubling, Size, block_widths
from muster.models.plane import PlaneBlock, fold, pooled_cells


class Cnn2d(Model):
    """Residual blocks over rows of so many steps, each half as high and wide, and global pooling.

    width: steps of a row, so that steps a row apart become neighbours. channels, doubling and
    dilation as in cnn, squeeze as in resnet.
    """

    def __init__(
        self,
        shape: InputShape,
        *,
        dropout: float = 0.0,
        width: Size = 16,
        channels: Size = 32,
        kernel: Size = 3,
        blocks: Size = 3,
        doubling: Doubling = "each",
        dilation: Size = 1,
        squeeze: Annotated[int, Field(ge=0)] = 0,
        pooling: GlobalPooling = "mean",
    ) -> None:
        super().__init__()
        widths = [shape.channels, *block_widths(channels, blocks, doubling)]
        self.width = width
        self.pooling: GlobalPooling = pooling
        self.blocks = nn.ModuleList(
            PlaneBlock(
                widths[block],
                widths[block + 1],
                kernel=kernel,
                dilation=dilation**block,
                squeeze=squeeze,
                pool=block < blocks - 1,
            )
            for block in range(blocks)
        )
        self.head = Head(widths[-1], shape, dropout=dropout)

    def forward(self, values: Tensor, lengths: Tensor | None, static: Tensor) -> Tensor:
        plane, mask = fold(values, lengths, width=self.width)
        for block in self.blocks:
            plane, mask = block(plane, mask)
        logits: Tensor = self.head(pooled_cells(plane, mask, self.pooling), static)
        return logits
