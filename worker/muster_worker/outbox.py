"""What a running trial has to say to the database, until it has been said."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Event, Lock
from typing import Any, Literal

from optuna.trial import TrialState

from muster.errors import Unavailable
from muster_db import blobs, trials
from muster_db.claims import Claim
from muster_db.database import Database
from muster_db.names import CHECKPOINT

log = logging.getLogger(__name__)

Outcome = Literal["complete", "pruned", "failed", "released", "lost"]

# The one before, for when the newest turns out to be damaged.
PREVIOUS = f"{CHECKPOINT}.previous"
MOST_REPORTS = 10_000
STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED}


class OutOfTime(Unavailable):
    """The worker was asked to stop, and must not wait for the database any longer."""


@dataclass(frozen=True)
class Ending:
    """How an attempt ended. parts: bytes to keep of a complete trial, by name.

    error: of a failed attempt, its traceback. checkpoint: of a released one, where to go on.
    """

    outcome: Outcome
    value: float | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    parts: Mapping[str, bytes] = field(default_factory=dict)
    error: str = ""
    checkpoint: bytes | None = None


class Outbox:
    """Reports, checkpoints and the ending of one attempt, in bounded memory.

    Training fills it without waiting; the courier empties it. is_lost: another worker holds the
    trial by now. is_draining: the study was stopped, so that the attempt ends with its epoch.
    stored: SHA-256 of the checkpoint that the trial was resumed from.
    """

    def __init__(self, claim: Claim, *, stored: str | None = None) -> None:
        self.claim = claim
        self.is_lost = Event()
        self.is_draining = Event()
        self.ending: Ending | None = None
        self.last_report: tuple[int, float] | None = None
        self._stored = stored
        self._is_first_news = claim.attempt == 1
        self._reports: list[tuple[int, float]] = []
        # When the oldest of them was queued.
        self._since = math.inf
        self._checkpoint: bytes | None = None
        self._names: dict[str, str] = {}
        self._lock = Lock()

    def report(self, step: int, value: float) -> None:
        """Queue an intermediate value; of too many, every second one of the older half goes."""
        self.last_report = step, value
        with self._lock:
            if not self._reports:
                self._since = time.monotonic()
            self._reports.append((step, value))
            if len(self._reports) > MOST_REPORTS:
                older = MOST_REPORTS // 2
                self._reports[:older] = self._reports[:older:2]

    def save(self, checkpoint: bytes) -> None:
        """Queue a checkpoint; an older one that was not sent yet is dropped."""
        with self._lock:
            self._checkpoint = checkpoint

    def send(self, engine: Database, pulse: Callable[[], None]) -> None:
        """Send what is queued, while the trial trains on.

        pulse is called between the pieces of what is large. Raises LeaseLost, or Unavailable and
        keeps the rest queued.
        """
        with self._lock:
            reports, checkpoint = list(self._reports), self._checkpoint
        if reports:
            self._is_first_news = False
            trials.report(engine, self.claim, reports)
            self._forget(reports)
        if checkpoint is not None:
            self._is_first_news = False
            names = self._put_checkpoint(engine, checkpoint, pulse)
            trials.attach(engine, self.claim, names)
            self._stored = names[CHECKPOINT]
            with self._lock:
                if self._checkpoint is checkpoint:
                    self._checkpoint = None

    def close(self, engine: Database, pulse: Callable[[], None]) -> None:
        """Send the ending, and what is still queued with it.

        Raises LeaseLost, or Unavailable; then it can be called again.
        """
        ending = self.ending
        if ending is None:
            raise RuntimeError("the attempt has not ended yet")
        with self._lock:
            reports = list(self._reports)
        if ending.outcome == "failed":
            trials.report(engine, self.claim, reports)
            trials.fail_attempt(engine, self.claim, ending.error)
        elif ending.outcome == "released":
            self._release(engine, ending, reports, pulse)
        else:
            for name, data in ending.parts.items():
                if name not in self._names:
                    self._names[name] = blobs.put(engine, data, between=pulse)
            trials.tell(
                engine,
                self.claim,
                state=STATES[ending.outcome],
                value=ending.value,
                attributes=ending.attributes,
                blobs=self._names,
                reports=reports,
                is_first_news=self._is_first_news,
            )

    def _release(
        self,
        engine: Database,
        ending: Ending,
        reports: list[tuple[int, float]],
        pulse: Callable[[], None],
    ) -> None:
        names: dict[str, str] = {}
        if ending.checkpoint is not None:
            try:
                names = self._put_checkpoint(engine, ending.checkpoint, pulse)
            except OutOfTime:
                log.warning(
                    "trial %s: no time is left to store its newest checkpoint; it goes on from "
                    "the one before",
                    self.claim.number,
                )
        trials.release(engine, self.claim, blobs=names, reports=reports)

    def _put_checkpoint(
        self, engine: Database, checkpoint: bytes, pulse: Callable[[], None]
    ) -> dict[str, str]:
        digest = blobs.put(engine, checkpoint, between=pulse)
        names = {CHECKPOINT: digest}
        if self._stored not in (None, digest):
            names[PREVIOUS] = str(self._stored)
        return names

    def _forget(self, sent: list[tuple[int, float]]) -> None:
        # By content: thinning may have moved them meanwhile.
        gone = set(sent)
        with self._lock:
            self._reports = [each for each in self._reports if each not in gone]
            self._since = time.monotonic() if self._reports else math.inf

    def is_due(self, seconds: float) -> bool:
        """Whether a checkpoint is queued, or a report for that long.

        What a trial of a second has to say goes with its ending.
        """
        with self._lock:
            return self._checkpoint is not None or time.monotonic() - self._since >= seconds
