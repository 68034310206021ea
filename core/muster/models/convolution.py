"""One-dimensional convolutions whose results padding never changes.

Values are (batch, channels, steps), zeros behind each end; masks are (batch, 1, steps), true where
valid, or None where every sequence fills all steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from muster.models.base import MaskedBatchNorm, step_mask

Size = Annotated[int, Field(ge=1)]
Doubling = Literal["never", "once", "each"]


def block_widths(channels: int, blocks: int, doubling: Doubling) -> list[int]:
    """Channels of each block: all alike, twice as many from the second on, or doubled by each."""
    exponents = {"never": [0] * blocks, "once": [0] + [1] * (blocks - 1), "each": range(blocks)}
    return [channels * 2**exponent for exponent in exponents[doubling]]


def channel_mask(lengths: Tensor | None, steps: int) -> Tensor | None:
    """The mask of sequences of these lengths."""
    return None if lengths is None else step_mask(lengths, steps)[:, None]


def zero_behind(values: Tensor, mask: Tensor | None) -> Tensor:
    """The values with zeros behind each end."""
    return values if mask is None else torch.where(mask, values, 0.0)


def halve_steps(values: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Max pooling by two of values that are not negative: zeros never win against valid steps."""
    if isinstance(values.shape[2], torch.SymInt):
        # Exported: max_pool1d would fix the steps.
        half = (values.shape[2] + 1) // 2
        pairs = functional.pad(values, (0, 1))[..., : 2 * half].unflatten(2, (half, 2))
        pooled = pairs.amax(dim=3)
    else:
        pooled = functional.max_pool1d(values, 2, ceil_mode=True)
    return pooled, None if lengths is None else (lengths + 1) // 2


class Convolution(nn.Conv1d):
    """A convolution that gives as many steps as it was given; no bias.

    A kernel may be longer than a sequence: its outer weights then meet the zeros around it alone.
    """

    def __init__(
        self, channels_in: int, channels_out: int, *, kernel: int, dilation: int = 1
    ) -> None:
        # No bias: the normalisation that follows has one of its own.
        span = (kernel - 1) * dilation
        super().__init__(
            channels_in,
            channels_out,
            kernel,
            padding=(span + 1) // 2,
            dilation=dilation,
            bias=False,
        )

    def forward(self, input: Tensor) -> Tensor:
        # An even kernel gives one step more than it was given.
        return super().forward(input)[..., : input.shape[2]]


class ConvBlock(nn.Module):
    """Convolution, batch normalisation, ReLU and, with pool, max pooling by two."""

    def __init__(
        self, channels_in: int, channels_out: int, *, kernel: int, pool: bool, dilation: int = 1
    ) -> None:
        super().__init__()
        self.pool = pool
        self.convolution = Convolution(channels_in, channels_out, kernel=kernel, dilation=dilation)
        self.normalisation = MaskedBatchNorm(channels_out)

    def forward(self, values: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The block's features and their lengths."""
        mask = channel_mask(lengths, values.shape[2])
        normalised = self.normalisation(self.convolution(values), mask)
        values = zero_behind(functional.relu(normalised), mask)
        return halve_steps(values, lengths) if self.pool else (values, lengths)


class SqueezeExcite(nn.Module):
    """Each channel times a factor that all channels' means decide (Hu et al., 2018)."""

    def __init__(self, channels: int, *, reduction: int) -> None:
        super().__init__()
        squeezed = max(1, channels // reduction)
        self.squeeze = nn.Linear(channels, squeezed)
        self.excite = nn.Linear(squeezed, channels)

    def forward(self, values: Tensor, mask: Tensor | None) -> Tensor:
        """values: zeros where the mask is false."""
        means = values.mean(dim=2) if mask is None else values.sum(dim=2) / mask.sum(dim=2)
        factors = torch.sigmoid(self.excite(functional.relu(self.squeeze(means))))
        return values * factors[..., None]


class ResidualBlock(nn.Module):
    """Convolutions with a way around them (He et al., 2016), in one dimension.

    kernels: one a convolution. squeeze: by how much squeeze-and-excitation narrows, 0 without it.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        *,
        kernels: Sequence[int],
        dilation: int = 1,
        squeeze: int = 0,
        pool: bool = False,
    ) -> None:
        super().__init__()
        widths = [channels_in] + [channels_out] * len(kernels)
        self.convolutions = nn.ModuleList(
            Convolution(before, after, kernel=kernel, dilation=dilation)
            for before, after, kernel in zip(widths, widths[1:], kernels, strict=False)
        )
        self.normalisations = nn.ModuleList(MaskedBatchNorm(channels_out) for _ in kernels)
        self.excitation = SqueezeExcite(channels_out, reduction=squeeze) if squeeze else None
        is_changed = channels_in != channels_out
        self.shortcut = Convolution(channels_in, channels_out, kernel=1) if is_changed else None
        self.shortcut_norm = MaskedBatchNorm(channels_out) if is_changed else None
        self.pool = pool

    def forward(self, values: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The block's features and their lengths."""
        mask = channel_mask(lengths, values.shape[2])
        around, through = values, values
        last = len(self.convolutions) - 1
        pairs = zip(self.convolutions, self.normalisations, strict=True)
        for position, (convolution, normalisation) in enumerate(pairs):
            through = zero_behind(normalisation(convolution(through), mask), mask)
            if position < last:
                through = functional.relu(through)
        if self.excitation is not None:
            through = self.excitation(through, mask)
        if self.shortcut is not None and self.shortcut_norm is not None:
            around = self.shortcut_norm(self.shortcut(values), mask)
        values = zero_behind(functional.relu(through + around), mask)
        return halve_steps(values, lengths) if self.pool else (values, lengths)
