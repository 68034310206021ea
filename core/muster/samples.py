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
    all windows are full. static: (batch, features). labels: (batch,) int64. partners, share:
    where the batch is mixed, the other labels and the share of the own ones."""

    values: Tensor
    lengths: Tensor | None
    static: Tensor
    labels: Tensor
    partners: Tensor | None = None
    share: float = 1.0

    def part(self, first: int, end: int) -> Batch:
        """The windows from first up to end, which may lie behind the last one."""
        chosen = slice(first, end)
        lengths = None if self.lengths is None else self.lengths[chosen]
        partners = None if self.partners is None else self.partners[chosen]
        return Batch(
            self.values[chosen],
            lengths,
            self.static[chosen],
            self.labels[chosen],
            partners,
            self.share,
        )


class Samples:
    """The windows of some sequences; everything but host_* lies on the device.

    sequence: (windows,) position of each window's sequence among the chosen ones.
    host_lengths, host_labels: (windows,) int64.
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
        labels = torch.from_numpy(dataset.labels[index])
        self.host_labels = labels[torch.from_numpy(sequence)]
        self._labels = labels.to(device)
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

    def repeat(self, index: Tensor) -> None:
        """Take the windows at index, int64 on the host, in once more."""
        device_index = index.to(self.device)
        self.host_lengths = torch.cat([self.host_lengths, self.host_lengths[index]])
        self.host_labels = torch.cat([self.host_labels, self.host_labels[index]])
        self.sequence = torch.cat([self.sequence, self.sequence[device_index]])
        self._first = torch.cat([self._first, self._first[device_index]])
        self._lengths = torch.cat([self._lengths, self._lengths[device_index]])

    def add(self, values: Tensor, static: Tensor, labels: Tensor) -> None:
        """Take made windows in, each a full one and a sequence of its own; on the host.

        values: (n, steps, channels). static: (n, features). labels: (n,) int64.
        """
        new = torch.arange(len(labels))
        rows = len(self._values)
        self._values = torch.cat([self._values, values.flatten(0, 1).to(self.device)])
        self._first = torch.cat([self._first, (rows + new * self.steps).to(self.device)])
        self.sequence = torch.cat([self.sequence, (self.sequences + new).to(self.device)])
        self.sequences += len(labels)
        lengths = torch.full_like(labels, self.steps)
        self.host_lengths = torch.cat([self.host_lengths, lengths])
        self._lengths = torch.cat([self._lengths, lengths.to(self.device)])
        self.host_labels = torch.cat([self.host_labels, labels])
        self._static = torch.cat([self._static, static.to(self.device)])
        self._labels = torch.cat([self._labels, labels.to(self.device)])

    def _windows(self, steps: int) -> Tensor:
        """(rows, steps * channels) view: the steps from each row on, which overlap in memory.

        A window is one piece of memory, so that a batch copies pieces and not numbers.
        """
        rows, channels = self._values.shape
        return self._values.as_strided((rows - steps + 1, steps * channels), (channels, 1))
