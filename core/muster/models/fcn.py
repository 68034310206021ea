"""The fully convolutional network of Wang et al. (2017)."""

from __future__ import annotations

from torch import Tensor, nn

from muster.models.base import GlobalPooling, Head, InputShape, Model, pooled
from muster.models.convolution import ConvBlock, Size


class Fcn(Model):
    """Three convolution blocks that keep every step, twice as wide in the middle.

    kernel: steps of the first block's kernel, 8 there; the later ones are shorter (8, 5, 3).
    """

    def __init__(
        self,
        shape: InputShape,
        *,
        dropout: float = 0.0,
        channels: Size = 128,
        kernel: Size = 8,
        pooling: GlobalPooling = "mean",
    ) -> None:
        super().__init__()
        widths = [shape.channels, channels, channels * 2, channels]
        kernels = [max(1, round(kernel * share)) for share in (1.0, 5 / 8, 3 / 8)]
        self.pooling: GlobalPooling = pooling
        self.blocks = nn.ModuleList(
            ConvBlock(before, after, kernel=size, pool=False)
            for before, after, size in zip(widths, widths[1:], kernels, strict=False)
        )
        self.head = Head(channels, shape, dropout=dropout)

    def forward(self, values: Tensor, lengths: Tensor | None, static: Tensor) -> Tensor:
        features = values.transpose(1, 2)
        for block in self.blocks:
            features, lengths = block(features, lengths)
        logits: Tensor = self.head(pooled(features.transpose(1, 2), lengths, self.pooling), static)
        return logits
