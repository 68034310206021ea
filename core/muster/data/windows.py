"""Windows of a size and stride over sequences of different lengths."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def window_starts(
    lengths: NDArray[np.int64], *, window: int | None, stride: int | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(sequence, start), one entry a window; start counts from the sequence's first step.

    lengths: (sequences,) steps. window None: the whole sequence. stride None: half a window; it is
    never more than a window, so that every step is covered. The last window of a sequence ends
    with it, and a sequence shorter than the window gives one short window.
    """
    lengths = np.asarray(lengths, dtype=np.int64)
    sequences = np.arange(len(lengths), dtype=np.int64)
    if window is None:
        return sequences, np.zeros(len(lengths), dtype=np.int64)
    step = min(stride if stride is not None else max(1, window // 2), window)
    last = np.maximum(lengths - window, 0)
    counts = -(-last // step) + 1
    sequence = np.repeat(sequences, counts)
    firsts = np.repeat(np.cumsum(counts) - counts, counts)
    position = np.arange(len(sequence), dtype=np.int64) - firsts
    return sequence, np.minimum(position * step, last[sequence])
