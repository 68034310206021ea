"""A part of a dataset on the device, cut into windows; a batch is an index slice of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from muster.data.dataset import Dataset
from muster.data.preprocess import Preprocessor
from muster.data.windows import window_starts


@dataclass(frozen=True)
class Batch:
    """values: (batch, steps, channels), zeros behind each end. lengths: (batch,), or None where
    all windows are full. static: (batch, features). labels: (batch,) int64."""

    values: Tensor
    lengths: Tensor | None
    static: Tensor
    labels: Tensor


class Samples:
    """The windows of some sequences; everything but host_lengths lies on the device.

    sequence: (windows,) position of each window's sequence among the chosen ones.
    """

    def __init__(
        self,
        dataset: Dataset,
        index: NDArray[np.int64],
        preprocessor: Preprocessor,
        *,
        window: int | None,
        stride: int | None,
        device: torch.device,
    ) -> None:
        values, lengths, static = preprocessor.transform(dataset, index)
        sequence, starts = window_starts(lengths, window=window, stride=stride)
        longest = int(lengths.max())
        self.steps = longest if window is None else min(window, longest)
        self.sequences = len(index)
        self.device = device
        self.host_lengths = torch.from_numpy(np.minimum(lengths[sequence], self.steps))
        self.is_full = bool((self.host_lengths == self.steps).all())
        offsets = np.cumsum(lengths) - lengths
        self.sequence = torch.from_numpy(sequence).to(device)
        self._values = torch.from_numpy(values).to(device)
        self._first = torch.from_numpy(offsets[sequence] + starts).to(device)
        self._lengths = self.host_lengths.to(device)
        self._static = torch.from_numpy(static).to(device)
        self._labels = torch.from_numpy(dataset.labels[index]).to(device)
        self._steps = torch.arange(self.steps, device=device)

    def __len__(self) -> int:
        return len(self.host_lengths)

    def batch(self, index: Tensor, device_index: Tensor) -> Batch:
        """The windows at index, int64 on the host; device_index: the same on the device."""
        lengths = None
        steps = self._steps
        if not self.is_full:
            longest = int(self.host_lengths[index].max())
            lengths = self._lengths.index_select(0, device_index)
            steps = steps[:longest]
        rows = self._first.index_select(0, device_index)[:, None] + steps
        if lengths is not None:
            mask = steps < lengths[:, None]
            rows = torch.where(mask, rows, 0)
        values = self._values.index_select(0, rows.flatten()).view(*rows.shape, -1)
        if lengths is not None:
            values = values.masked_fill_(~mask[..., None], 0.0)
        sequence = self.sequence.index_select(0, device_index)
        return Batch(
            values=values,
            lengths=lengths,
            static=self._static.index_select(0, sequence),
            labels=self._labels.index_select(0, sequence),
        )
