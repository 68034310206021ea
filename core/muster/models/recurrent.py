"""Recurrent networks: plain, LSTM (Hochreiter & Schmidhuber, 1997) and GRU (Cho et al., 2014)."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from muster.models.base import Head, InputShape, Model, masked_mean, step_mask

Pooling = Literal["last", "mean", "attention"]
Size = Annotated[int, Field(ge=1)]
Cell = type[nn.RNN | nn.LSTM | nn.GRU]


class NormalisedStack(nn.Module):
    """Recurrent layers, each one's outputs layer-normalised (Ba et al., 2016).

    Called like torch's recurrent layers; the last layer's outputs and state are as they are.
    """

    def __init__(
        self,
        cell: Cell,
        features: int,
        hidden: int,
        *,
        layers: int,
        bidirectional: bool,
        dropout: float,
    ) -> None:
        super().__init__()
        self.bidirectional = bidirectional
        width = hidden * (2 if bidirectional else 1)
        self.layers = nn.ModuleList(
            cell(
                width if layer else features, hidden, bidirectional=bidirectional, batch_first=True
            )
            for layer in range(layers)
        )
        self.normalisations = nn.ModuleList(nn.LayerNorm(width) for _ in range(layers - 1))
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, values: Tensor | PackedSequence
    ) -> tuple[Tensor | PackedSequence, Tensor | tuple[Tensor, Tensor]]:
        outputs = values
        for position, layer in enumerate(self.layers):
            if position:
                outputs = self._between(outputs, position - 1)
            outputs, state = layer(outputs)
        return outputs, state

    def _between(self, outputs: Tensor | PackedSequence, layer: int) -> Tensor | PackedSequence:
        normalise = self.normalisations[layer]
        if isinstance(outputs, PackedSequence):
            return outputs._replace(data=self.dropout(normalise(outputs.data)))
        normalised: Tensor = self.dropout(normalise(outputs))
        return normalised


class Recurrent(Model):
    """Stacked recurrent layers over packed sequences, pooled over time.

    pooling: last, the last valid step of each direction; mean over the valid steps; attention, a
    learnt weighted mean (Bahdanau et al., 2015, with one learnt query).
    layer_norm: layer normalisation after each layer (Ba et al., 2016).
    """

    cell: Cell

    def __init__(
        self,
        shape: InputShape,
        *,
        dropout: float = 0.0,
        hidden: Size = 64,
        layers: Size = 1,
        bidirectional: bool = False,
        pooling: Pooling = "last",
        layer_norm: bool = False,
    ) -> None:
        super().__init__()
        self.pooling = pooling
        # Between layers only; with one layer there is no between.
        between = dropout if layers > 1 else 0.0
        self.recurrent = (
            NormalisedStack(
                self.cell,
                shape.channels,
                hidden,
                layers=layers,
                bidirectional=bidirectional,
                dropout=between,
            )
            if layer_norm
            else self.cell(
                shape.channels,
                hidden,
                num_layers=layers,
                bidirectional=bidirectional,
                batch_first=True,
                dropout=between,
            )
        )
        features = hidden * (2 if bidirectional else 1)
        self.normalisation = nn.LayerNorm(features) if layer_norm else nn.Identity()
        # Without bias: it would shift all scores alike, which a softmax takes no notice of.
        self.attention = nn.Linear(features, 1, bias=False) if pooling == "attention" else None
        self.head = Head(features, shape, dropout=dropout)

    def forward(self, values: Tensor, lengths: Tensor | None, static: Tensor) -> Tensor:
        outputs, state = self.run(values, lengths)
        return self._classify(self._pool(outputs, state, lengths), static)

    def run(
        self, values: Tensor, lengths: Tensor | None
    ) -> tuple[Tensor, Tensor | tuple[Tensor, Tensor]]:
        """The last layer's outputs (batch, steps, features) and the state at each one's end."""
        if lengths is None:
            outputs, state = self.recurrent(values)
            return outputs, state
        packed = pack_padded_sequence(
            values, lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        packed_outputs, state = self.recurrent(packed)
        outputs, _ = pad_packed_sequence(
            packed_outputs, batch_first=True, total_length=values.shape[1]
        )
        return outputs, state

    def _classify(self, features: Tensor, static: Tensor) -> Tensor:
        logits: Tensor = self.head(features, static)
        return logits

    def _pool(
        self, outputs: Tensor, state: Tensor | tuple[Tensor, Tensor], lengths: Tensor | None
    ) -> Tensor:
        if self.pooling == "last":
            hidden = state[0] if isinstance(state, tuple) else state
            directions = 2 if self.recurrent.bidirectional else 1
            last: Tensor = self.normalisation(torch.cat(list(hidden[-directions:]), dim=1))
            return last
        outputs = self.normalisation(outputs)
        if self.attention is None:
            return masked_mean(outputs, lengths)
        scores: Tensor = self.attention(outputs).squeeze(-1)
        if lengths is not None:
            scores = scores.masked_fill(~step_mask(lengths, outputs.shape[1]), -torch.inf)
        return torch.einsum("bs,bsf->bf", scores.softmax(dim=1), outputs)


class Rnn(Recurrent):
    """Recurrent with plain tanh cells."""

    cell = nn.RNN


class Lstm(Recurrent):
    """Recurrent with LSTM cells."""

    cell = nn.LSTM


class Gru(Recurrent):
    """Recurrent with GRU cells."""

    cell = nn.GRU
