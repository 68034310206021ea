"""The transformer encoder that the attention architectures share."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel


class Encoder(nn.Module):
    """Self-attention layers (Vaswani et al., 2017), normalised before each part.

    Padding is never attended to. Positions are sines and cosines, so that any length will do.
    """

    def __init__(
        self, features: int, *, heads: int, head_size: int, layers: int, dropout: float
    ) -> None:
        super().__init__()
        self.width = heads * head_size
        self.project = nn.Linear(features, self.width)
        layer = nn.TransformerEncoderLayer(
            self.width,
            heads,
            dim_feedforward=self.width * 2,
            dropout=dropout,
            batch_first=True,
            norm_first=True,
        )
        self.encoder = nn.TransformerEncoder(
            layer, layers, norm=nn.LayerNorm(self.width), enable_nested_tensor=False
        )

    def forward(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """tokens: (batch, n, features). mask: (batch, n), true where valid. (batch, n, width)."""
        projected = self.project(tokens)
        places = positions(tokens.shape[1], self.width, device=tokens.device)
        placed = projected + places.to(projected.dtype)
        # The faster kernels add up in another order at each run on a GPU.
        with sdpa_kernel(SDPBackend.MATH):
            encoded: Tensor = self.encoder(
                placed, src_key_padding_mask=None if mask is None else ~mask
            )
        return encoded


def positions(count: int, width: int, *, device: torch.device) -> Tensor:
    """(count, width) sines and cosines of falling frequency (Vaswani et al., 2017)."""
    place = torch.arange(count, device=device)[:, None]
    rate = torch.exp(torch.arange(0, width, 2, device=device) * (-math.log(10_000.0) / width))
    waves = torch.stack([torch.sin(place * rate), torch.cos(place * rate)], dim=2)
    return waves.flatten(1)[:, :width]
