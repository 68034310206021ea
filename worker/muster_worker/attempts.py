"""What a worker trains, and what it has trained and not told yet."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from threading import Lock

from muster.errors import LeaseLost, UserError
from muster.logs import about
from muster_db import trials
from muster_db.database import Database
from muster_db.history import End
from muster_worker.outbox import STATES, Ending, Outbox, Outcome
from muster_worker.room import Ready

log = logging.getLogger(__name__)

Attempt = tuple[Ready, Outbox]


class Attempts:
    """Trials with their outboxes; training adds them, the courier tells and removes them.

    Who holds no lease any more is marked lost. The verbs raise Unavailable.
    """

    def __init__(self, engine: Database) -> None:
        self._engine = engine
        self._all: list[Attempt] = []
        self._lock = Lock()

    def add(self, ready: Ready) -> Outbox:
        """Begin an attempt at this trial; what it has to say goes into the outbox."""
        outbox = Outbox(ready.claim, stored=ready.stored)
        with self._lock:
            self._all.append((ready, outbox))
        return outbox

    def remove(self, outbox: Outbox) -> None:
        """The attempt is told, or lost."""
        with self._lock:
            self._all = [each for each in self._all if each[1] is not outbox]

    def all(self) -> list[Attempt]:
        """Those that are not told yet."""
        with self._lock:
            return list(self._all)

    def running(self) -> list[Attempt]:
        """Those that are not told yet and not lost."""
        return [each for each in self.all() if not each[1].is_lost.is_set()]

    def is_one_trained(self) -> bool:
        """Whether training holds one that has not ended."""
        return any(outbox.ending is None for _, outbox in self.running())

    def of(self, outbox: Outbox) -> Ready:
        """The trial that an outbox belongs to."""
        return next(ready for ready, each in self.all() if each is outbox)

    def lose(self) -> None:
        """Mark all lost: nobody speaks for them any more."""
        for _, outbox in self.all():
            outbox.is_lost.set()

    def warn_of_rest(self) -> None:
        """Say what becomes of those that the database has not taken, when the worker leaves."""
        for ready, _ in self.all():
            log.warning(
                "left without an answer from the database: trial %s goes on elsewhere from its "
                "last stored checkpoint, once its lease of %g s has run out",
                ready.claim.number,
                ready.claim.lease_seconds,
            )

    def begin(self, ready: Ready, outbox: Outbox) -> None:
        """Tell that a trial which was claimed ahead is trained now, with its newest draw."""
        try:
            trials.begin(self._engine, ready.claim, redrawn=ready.redrawn)
        except LeaseLost as error:
            with about(**ready.facts):
                log.info("%s", error)
            outbox.is_lost.set()
            with contextlib.suppress(LeaseLost):
                # Still ours where only its configuration was another's: for anybody to run.
                trials.release(self._engine, ready.claim)

    def note(self, outbox: Outbox, ending: Ending) -> None:
        """Let draws know how an attempt ended here, before the database is told."""
        if ending.outcome in STATES and not outbox.is_lost.is_set():
            end = End(STATES[ending.outcome], ending.value, outbox.last_report)
            self.of(outbox).desk.context.mirror.end(outbox.claim.number, end)

    def extend(self) -> None:
        """Extend every lease."""
        for ready, outbox in self.running():
            try:
                trials.extend(self._engine, ready.claim, pace=ready.desk.context.meter.pace)
            except LeaseLost:
                outbox.is_lost.set()

    def send(self, pulse: Callable[[], None], *, after_seconds: float) -> None:
        """Send what training has said that long ago; pulse is called between pieces."""
        for _, outbox in self.running():
            if outbox.ending is None and outbox.is_due(after_seconds):
                try:
                    outbox.send(self._engine, pulse)
                except LeaseLost:
                    outbox.is_lost.set()

    def close(self, outbox: Outbox, pulse: Callable[[], None]) -> Outcome:
        """Tell how an attempt ended, as far as the database takes it; what it counts as."""
        outcome = self._close(outbox, pulse)
        if outcome not in STATES:
            self.of(outbox).desk.context.mirror.end(outbox.claim.number, None)
        return outcome

    def _close(self, outbox: Outbox, pulse: Callable[[], None]) -> Outcome:
        if outbox.ending is None:
            raise RuntimeError("the attempt has not ended yet")
        try:
            if outbox.is_lost.is_set():
                raise LeaseLost(f"trial {outbox.claim.number}")
            outbox.close(self._engine, pulse)
        except LeaseLost:
            log.warning("trial %s: another worker holds it by now", outbox.claim.number)
            return "lost"
        except UserError as error:
            # What the database cannot take is the configuration's fault.
            outbox.ending = Ending("failed", error=str(error))
            return self._close(outbox, pulse)
        return outbox.ending.outcome
