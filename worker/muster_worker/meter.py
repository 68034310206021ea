"""How many epochs a worker trains for a study, and how many a second of late."""

from __future__ import annotations

from collections import deque

from muster_db.workers import Pace

# Of late: the last epochs that took so long together, and so many of them at most.
WINDOW_SECONDS = 30.0
MOST_EPOCHS = 1_000


class Meter:
    """Training counts its epochs here; the courier reads the pace."""

    def __init__(self) -> None:
        self._epochs = 0
        self._latest: deque[float] = deque(maxlen=MOST_EPOCHS)

    def epoch(self, seconds: float) -> None:
        """Note a finished epoch that took so many seconds."""
        self._epochs += 1
        self._latest.append(seconds)

    @property
    def pace(self) -> Pace:
        """Epochs so far, and their rate while training; no rate before the first."""
        total, count = 0.0, 0
        # A copy: training goes on meanwhile.
        for seconds in reversed(tuple(self._latest)):
            total, count = total + seconds, count + 1
            if total >= WINDOW_SECONDS:
                break
        return Pace(self._epochs, count / total if total > 0 else None)
