"""Residual convolutions in front of a GRU with layer normalisation."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from muster.models.base import InputShape, Model
from muster.models.convolution import ResidualBlock, Size
from muster.models.recurrent import Gru, Pooling


class ResnetGru(Model):
    """Residual blocks of two convolutions that each halve the steps, then GRU layers.

    squeeze, dilation as in resnet. layer_norm as in gru.
    """

    def __init__(
        self,
        shape: InputShape,
        *,
        dropout: float = 0.0,
        channels: Size = 64,
        kernel: Size = 5,
        blocks: Size = 2,
        dilation: Size = 1,
        squeeze: Annotated[int, Field(ge=0)] = 0,
        hidden: Size = 64,
        layers: Size = 2,
        bidirectional: bool = False,
        pooling: Pooling = "last",
        layer_norm: bool = True,
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            ResidualBlock(
                channels if block else shape.channels,
                channels,
                kernels=[kernel, kernel],
                dilation=dilation**block,
                squeeze=squeeze,
                pool=True,
            )
            for block in range(blocks)
        )
        self.gru = Gru(
            InputShape(channels, shape.static_features, shape.classes),
            dropout=dropout,
            hidden=hidden,
            layers=layers,
            bidirectional=bidirectional,
            pooling=pooling,
            layer_norm=layer_norm,
        )

    def forward(self, values: Tensor, lengths: Tensor | None, static: Tensor) -> Tensor:
        features = values.transpose(1, 2)
        for block in self.blocks:
            features, lengths = block(features, lengths)
        logits: Tensor = self.gru(features.transpose(1, 2), lengths, static)
        return logits
