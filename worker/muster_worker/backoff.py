"""Waiting for a database that is away: longer each time, never in step, said once a minute."""

from __future__ import annotations

import logging
import random
import time

log = logging.getLogger(__name__)

FIRST_WAIT_SECONDS = 0.5
MOST_WAIT_SECONDS = 10.0
SAY_SECONDS = 60.0


class Backoff:
    """How long to wait before the next try."""

    def __init__(self) -> None:
        self._tries = 0
        self._until = 0.0
        self._said_at: float | None = None

    def refused(self, error: Exception) -> None:
        """Note a try that the database did not take."""
        now = time.monotonic()
        # Workers that lost the same database must not come back in the same moment.
        longest = min(MOST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2**self._tries)
        self._until = now + random.uniform(longest / 2, longest)
        self._tries += 1
        if self._said_at is None or now - self._said_at >= SAY_SECONDS:
            self._said_at = now
            log.warning("training goes on without the database: %s", error)

    def taken(self) -> None:
        """Note that the database answers."""
        if self._said_at is not None:
            log.info("the database is back")
        self._tries, self._until, self._said_at = 0, 0.0, None

    def wait_seconds(self) -> float:
        """How long the next try has to wait still."""
        return max(0.0, self._until - time.monotonic())
