"""A convolution in front of a recurrent layer."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from muster.models.base import InputShape, Model
from muster.models.cnn import ConvBlock
from muster.models.recurrent import Gru, Pooling, Size


class CnnGru(Model):
    """One convolution block that halves the steps, then a GRU over what it found."""

    def __init__(
        self,
        shape: InputShape,
        *,
        dropout: float = 0.0,
        channels: Size = 64,
        kernel: Annotated[int, Field(ge=1)] = 5,
        hidden: Size = 64,
        layers: Size = 1,
        bidirectional: bool = False,
        pooling: Pooling = "last",
    ) -> None:
        super().__init__()
        self.block = ConvBlock(shape.channels, channels, kernel=kernel, pool=True)
        self.gru = Gru(
            InputShape(channels, shape.static_features, shape.classes),
            dropout=dropout,
            hidden=hidden,
            layers=layers,
            bidirectional=bidirectional,
            pooling=pooling,
        )

    def forward(self, values: Tensor, lengths: Tensor | None, static: Tensor) -> Tensor:
        features, lengths = self.block(values.transpose(1, 2), lengths)
        logits: Tensor = self.gru(features.transpose(1, 2), lengths, static)
        return logits
