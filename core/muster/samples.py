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

    def part(self, first: int, end: int) -> Batch:
        """The windows from first up to end, which may lie behind the last one."""
        chosen = slice(first, end)
        lengths = None if self.lengths is None else self.lengths[chosen]
        return Batch(self.values[chosen], lengths, self.static[chosen], self.labels[chosen])


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
        # Rows behind the end, so that a whole window may be read from any first row.
        padded = np.pad(values, ((0, self.steps), (0, 0)))
        self._values = torch.from_numpy(np.ascontiguousarray(padded)).to(device)
        self._first = torch.from_numpy(offsets[sequence] + starts).to(device)
        self._lengths = self.host_lengths.to(device)
        self._static = torch.from_numpy(static).to(device)
        self._labels = torch.from_numpy(dataset.labels[index]).to(device)
        self._steps = torch.arange(self.steps, device=device)

    def __len__(self) -> int:
        return len(self.host_lengths)

    def batch(self, index: Tensor, device_index: Tensor) -> Batch:
        """The windows at index, int64 on the host; device_index: the same on the device."""
        steps = self.steps if self.is_full else int(self.host_lengths[index].max())
        values = self._windows(steps).index_select(0, self._first.index_select(0, device_index))
        values = values.view(len(index), steps, -1)
        lengths = None
        if not self.is_full:
            lengths = self._lengths.index_select(0, device_index)
            is_behind = self._steps[:steps] >= lengths[:, None]
            values.masked_fill_(is_behind[..., None], 0.0)
        sequence = self.sequence.index_select(0, device_index)
        return Batch(
            values=values,
            lengths=lengths,
            static=self._static.index_select(0, sequence),
            labels=self._labels.index_select(0, sequence),
        )

    def _windows(self, steps: int) -> Tensor:
        """(rows, steps * channels) view: the steps from each row on, which overlap in memory.

        A window is one piece of memory, so that a batch copies pieces and not numbers.
        """
        rows, channels = self._values.shape
        return self._values.as_strided((rows - steps + 1, steps * channels), (channels, 1))
