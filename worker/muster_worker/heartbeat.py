"""The thread that speaks for a running trial, so that training never waits for the database."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from threading import Event, Lock, Thread
from types import TracebackType

from sqlalchemy import Engine

from muster.errors import LeaseLost, MusterError
from muster_db import blobs, trials
from muster_db.claims import Claim

log = logging.getLogger(__name__)

CHECKPOINT = "checkpoint"
# The one before, for when the newest turns out to be damaged.
PREVIOUS = "checkpoint.previous"
# A worker that was asked to stop has 10 s in all (docker stop's grace).
PARTING_SECONDS = 2.0
SAY_SECONDS = 60.0
MOST_REPORTS = 10_000


class Heartbeat:
    """Extends the lease, sends reports in order and stores the newest checkpoint.

    A database that is away costs nothing but a wait: what could not be sent stays queued, in
    bounded memory. Once another worker holds the trial, is_lost is set and nothing more is sent.
    refresh is called after each beat, for what else wants to know of the database's news.
    stored: SHA-256 of the checkpoint that the trial was resumed from.
    """

    def __init__(
        self,
        engine: Engine,
        claim: Claim,
        *,
        interval_seconds: float,
        refresh: Callable[[], None],
        stored: str | None = None,
    ) -> None:
        self.is_lost = Event()
        self._engine = engine
        self._claim = claim
        self._interval_seconds = interval_seconds
        self._refresh = refresh
        self._stored = stored
        self._reports: list[tuple[int, float]] = []
        self._checkpoint: bytes | None = None
        self._lock = Lock()
        self._ended = Event()
        self._said_at: float | None = None
        self._thread = Thread(target=self._beat, name=f"heartbeat-{claim.number}", daemon=True)

    def report(self, step: int, value: float) -> None:
        """Queue an intermediate value; of too many, every second one of the older half goes."""
        with self._lock:
            self._reports.append((step, value))
            if len(self._reports) > MOST_REPORTS:
                older = MOST_REPORTS // 2
                self._reports[:older] = self._reports[:older:2]

    def save(self, checkpoint: bytes) -> None:
        """Queue a checkpoint; an older one that was not sent yet is dropped."""
        with self._lock:
            self._checkpoint = checkpoint

    def flush(self) -> None:
        """Send what is queued. Raises LeaseLost, or Unavailable and keeps the rest queued."""
        with self._lock:
            reports, checkpoint = list(self._reports), self._checkpoint
        if reports:
            trials.report(self._engine, self._claim, reports)
            with self._lock:
                # By content: thinning may have moved them meanwhile.
                sent = set(reports)
                self._reports = [each for each in self._reports if each not in sent]
        if checkpoint is not None:
            self._store(checkpoint)
            with self._lock:
                if self._checkpoint is checkpoint:
                    self._checkpoint = None

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended.set()
        # It may be waiting for a database that is away; a process that ends does not.
        self._thread.join(timeout=PARTING_SECONDS)

    def _store(self, checkpoint: bytes) -> None:
        digest = blobs.put(self._engine, checkpoint)
        names = {CHECKPOINT: digest}
        if self._stored not in (None, digest):
            names[PREVIOUS] = str(self._stored)
        trials.attach(self._engine, self._claim, names)
        self._stored = digest

    def _beat(self) -> None:
        while not self._ended.wait(self._interval_seconds):
            try:
                trials.extend(self._engine, self._claim)
                self.flush()
                self._refresh()
            except LeaseLost:
                self.is_lost.set()
                return
            except MusterError as error:
                self._say(error)
            else:
                self._said_at = None

    def _say(self, error: MusterError) -> None:
        """Once a minute while it lasts."""
        now = time.monotonic()
        if self._said_at is None or now - self._said_at >= SAY_SECONDS:
            self._said_at = now
            log.warning("trial %s: training goes on without: %s", self._claim.number, error)
