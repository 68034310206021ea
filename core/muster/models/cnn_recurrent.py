"""Convolutions in front of recurrent layers."""

from __future__ import annotations

import itertools

from torch import Tensor, nn

from muster.models.base import InputShape, Model
from muster.models.convolution import ConvBlock, Size
from muster.models.recurrent import Gru, Lstm, Pooling, Recurrent, Rnn


class CnnRecurrent(Model):
    """Convolution blocks that each halve the steps, then recurrent layers over what they found."""

    kind: type[Recurrent]

    def __init__(
        self,
        shape: InputShape,
        *,
        dropout: float = 0.0,
        channels: Size = 64,
        kernel: Size = 5,
        blocks: Size = 1,
        hidden: Size = 64,
        layers: Size = 1,
        bidirectional: bool = False,
        pooling: Pooling = "last",
        layer_norm: bool = False,
    ) -> None:
        super().__init__()
        widths = [shape.channels] + [channels] * blocks
        self.blocks = nn.ModuleList(
            ConvBlock(before, after, kernel=kernel, pool=True)
            for before, after in itertools.pairwise(widths)
        )
        self.recurrent = self.kind(
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
        logits: Tensor = self.recurrent(features.transpose(1, 2), lengths, static)
        return logits


class CnnRnn(CnnRecurrent):
    """CnnRecurrent with plain tanh cells."""

    kind = Rnn


class CnnLstm(CnnRecurrent):
    """CnnRecurrent with LSTM cells."""

    kind = Lstm


class CnnGru(CnnRecurrent):
    """CnnRecurrent with GRU cells."""

    kind = Gru
