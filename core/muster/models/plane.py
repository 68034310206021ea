"""Sequences folded into a plane, and two-dimensional convolutions that padding never changes.

Planes are (batch, channels, rows, width), masks (batch, 1, rows, width), true at the valid cells;
behind a sequence's end the cells are zero.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from muster.models.base import GlobalPooling, MaskedBatchNorm, step_mask
from muster.models.convolution import SqueezeExcite


def fold(values: Tensor, lengths: Tensor | None, *, width: int) -> tuple[Tensor, Tensor]:
    """The plane whose rows are width steps each, one below the other, and its mask.

    values: (batch, steps, channels); the last row is filled up with zeros.
    """
    batch, steps, channels = values.shape
    if lengths is None:
        lengths = torch.full((batch,), steps, device=values.device)
    # Not the negative of a floor, which ONNX rounds the other way.
    rows = (steps + width - 1) // width
    padded = functional.pad(values, (0, 0, 0, rows * width - steps))
    plane = padded.transpose(1, 2).reshape(batch, channels, rows, width)
    return plane, step_mask(lengths, rows * width).view(batch, 1, rows, width)


def pooled_cells(plane: Tensor, mask: Tensor, pooling: GlobalPooling) -> Tensor:
    """(batch, channels) mean or maximum over the valid cells."""
    if pooling == "mean":
        return plane.sum((2, 3)) / mask.sum((2, 3))
    return plane.masked_fill(~mask, torch.finfo(plane.dtype).min).amax((2, 3))


class PlaneConvolution(nn.Module):
    """A convolution that keeps the plane's size, and masked batch normalisation."""

    def __init__(
        self, channels_in: int, channels_out: int, *, kernel: int, dilation: int = 1
    ) -> None:
        super().__init__()
        padding = ((kernel - 1) * dilation + 1) // 2
        self.convolution = nn.Conv2d(
            channels_in, channels_out, kernel, padding=padding, dilation=dilation, bias=False
        )
        self.normalisation = MaskedBatchNorm(channels_out)

    def forward(self, plane: Tensor, mask: Tensor) -> Tensor:
        rows, width = plane.shape[2:]
        # An even kernel gives one row and column more than it was given.
        found = self.convolution(plane)[:, :, :rows, :width]
        flat = self.normalisation(found.flatten(2), mask.flatten(2))
        return torch.where(mask, flat.view(found.shape), 0.0)


class PlaneBlock(nn.Module):
    """Two convolutions with a way around them, in two dimensions; with pool, halved by pooling.

    squeeze: by how much squeeze-and-excitation narrows, 0 without it.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        *,
        kernel: int,
        dilation: int = 1,
        squeeze: int = 0,
        pool: bool = True,
    ) -> None:
        super().__init__()
        self.first = PlaneConvolution(channels_in, channels_out, kernel=kernel, dilation=dilation)
        self.second = PlaneConvolution(
            channels_out, channels_out, kernel=kernel, dilation=dilation
        )
        self.shortcut = PlaneConvolution(channels_in, channels_out, kernel=1)
        self.excitation = SqueezeExcite(channels_out, reduction=squeeze) if squeeze else None
        self.pool = pool

    def forward(self, plane: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        found = self.second(functional.relu(self.first(plane, mask)), mask)
        if self.excitation is not None:
            found = self.excitation(found.flatten(2), mask.flatten(2)).view(found.shape)
        plane = functional.relu(found + self.shortcut(plane, mask))
        if self.pool:
            # Behind a ReLU the zeros of the padding never win against a valid cell.
            plane = _halve(plane)
            mask = _halve(mask.float()) > 0.0
        return plane, mask


def _halve(plane: Tensor) -> Tensor:
    """Max pooling by two, rounded up."""
    rows, width = ((size + 1) // 2 for size in plane.shape[2:])
    if isinstance(rows, torch.SymInt):
        # Exported: max_pool2d would fix the rows.
        padded = functional.pad(plane, (0, 1, 0, 1))[..., : 2 * rows, : 2 * width]
        return padded.unflatten(3, (width, 2)).unflatten(2, (rows, 2)).amax(dim=(3, 5))
    return functional.max_pool2d(plane, 2, ceil_mode=True)
