"""When what is done again and again was done last."""

from __future__ import annotations

import time


class Timetable:
    """Remembers by name; what was never done is due."""

    def __init__(self) -> None:
        self._done_at: dict[str, float] = {}

    def is_due(self, what: str, seconds: float) -> bool:
        """Whether that long has passed since the last time; if so, now is the last time."""
        done_at = self._done_at.get(what)
        if done_at is not None and time.monotonic() - done_at < seconds:
            return False
        self.done(what)
        return True

    def done(self, what: str) -> None:
        """Now is the last time."""
        self._done_at[what] = time.monotonic()
