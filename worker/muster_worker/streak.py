"""Trials in a row that failed on this worker: is it the machine?"""

from __future__ import annotations

from muster_db import workers
from muster_db.database import Database
from muster_worker.outbox import Outcome
from muster_worker.room import Ready

FAILURES_IN_A_ROW = 3


class Streak:
    """Counts trials that failed one after the other."""

    def __init__(self, engine: Database) -> None:
        self._engine = engine
        self._failed: list[int] = []

    def judge(self, ready: Ready, outcome: Outcome) -> str:
        """Why the worker gives up: several failed in a row here and none elsewhere; else empty.

        A lost attempt says nothing of the machine. Raises Unavailable.
        """
        if outcome != "failed":
            if outcome != "lost":
                self._failed.clear()
            return ""
        if ready.claim.trial_id not in self._failed:
            self._failed.append(ready.claim.trial_id)
        if len(self._failed) < FAILURES_IN_A_ROW:
            return ""
        if workers.has_failed_elsewhere(self._engine, ready.desk.worker):
            return ""
        return (
            f"{len(self._failed)} trials in a row failed on this worker and none on others; it "
            "stops. The tracebacks are on the trials, in the dashboard"
        )
