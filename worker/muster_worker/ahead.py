"""The trial that is claimed while another one trains, until training takes it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from threading import Condition

from muster.errors import LeaseLost
from muster_db import trials
from muster_db.database import Database
from muster_worker.room import Ready
from muster_worker.timetable import Timetable

log = logging.getLogger(__name__)

# A slow sampler may take that part of the time to draw again what was claimed ahead.
REDRAWING_SHARE = 10.0


class Ahead:
    """Wanted, there, or nothing left to claim: the courier answers, training takes.

    changed guards it, and is notified of each answer. ask has the courier claim one soon.
    """

    def __init__(self, engine: Database, *, changed: Condition, ask: Callable[[], None]) -> None:
        self.ready: Ready | None = None
        self.is_wanted = False
        self.is_over = False
        self._engine = engine
        self._changed = changed
        self._ask = ask
        self._redraw_seconds = 0.0
        self._timetable = Timetable()

    def want(self) -> None:
        """Have one claimed."""
        with self._changed:
            self.is_wanted, self.is_over = True, False
        self._ask()

    @property
    def has_answer(self) -> bool:
        """Whether training need not wait: for a trial, or since there will be none."""
        return self.ready is not None or self.is_over

    def answer(self, found: Ready | bool) -> None:
        """What was claimed, or whether nothing is left to wait for."""
        with self._changed:
            if isinstance(found, Ready):
                self.ready = found
            self.is_over = found is True
            self.is_wanted = found is False
            self._changed.notify_all()

    def extend(self) -> None:
        """Extend its lease; one that another worker took is offered no more."""
        if (ready := self.ready) is not None:
            try:
                trials.extend(self._engine, ready.claim)
            except LeaseLost:
                self._take_back(ready)

    def give_back(self) -> None:
        """Leave it to others, where training has not taken it yet; another one is wanted then."""
        ready = self.ready
        if ready is not None and self._take_back(ready):
            try:
                trials.release(self._engine, ready.claim)
            except LeaseLost:
                log.debug("trial %s was taken over before it began", ready.claim.number)

    def follow_news(self, is_one_trained: Callable[[], bool]) -> None:
        """Draw anew what would take too long at its beginning, once other trials have finished.

        Not while no trial trains here: the one that just ended is not to count, so that with one
        worker the draws follow from the seed alone.
        """
        ready = self.ready
        if ready is None or ready.desk.draws_late(ready.claim) or not is_one_trained():
            return
        known = ready.desk.context.mirror.finished
        if known == ready.known:
            return
        if not self._timetable.is_due("redraw", REDRAWING_SHARE * self._redraw_seconds):
            return
        started = time.monotonic()
        redrawn = replace(_redrawn(ready), known=known)
        self._redraw_seconds = time.monotonic() - started
        with self._changed:
            if self.ready is ready and is_one_trained():
                self.ready = redrawn

    def _take_back(self, ready: Ready) -> bool:
        """Whether training had not taken it yet."""
        with self._changed:
            if self.ready is not ready:
                return False
            self.ready = None
        self.want()
        return True


def newest(ready: Ready) -> Ready:
    """The trial as it is to begin: drawn with what is known by now, where that is done quickly.

    What ended last on this worker counts, whether the database has been told of it or not, and
    how long the database takes to answer does not.
    """
    is_late = ready.is_ahead and ready.desk.draws_late(ready.claim)
    return _redrawn(ready) if is_late else ready


def _redrawn(ready: Ready) -> Ready:
    proposal = ready.desk.redraw(ready.claim)
    if proposal is None:
        return ready
    return replace(ready, claim=replace(ready.claim, params=proposal.params), redrawn=proposal)
