"""The one thread of a worker that speaks with the database, so that training never waits."""

from __future__ import annotations

import contextlib
import logging
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import replace
from threading import Condition, Event, Thread
from types import TracebackType

from sqlalchemy import Engine

from muster.errors import DiskFull, LeaseLost, Unavailable, UserError
from muster.settings import Settings
from muster_db import blobs, trials, workers
from muster_db.study import is_stopped
from muster_worker.backoff import Backoff
from muster_worker.desk import Desk
from muster_worker.machine import Machine
from muster_worker.outbox import Ending, Outbox, Outcome, OutOfTime
from muster_worker.room import Ready, Room

log = logging.getLogger(__name__)

# How often a worker that found nothing to claim looks for a trial that another one left.
IDLE_SECONDS = 2.0
# Reports, and the news of others, travel that often at most.
REPORT_SECONDS = 1.0
NEWS_SECONDS = 2.0
TIDY_SECONDS = 30.0
TICK_SECONDS = 0.1
# A slow sampler may take that part of the time to draw again what was claimed ahead.
REDRAWING_SHARE = 10.0
FAILURES_IN_A_ROW = 3
# Of the 10 s that docker stop grants, those that a database that answers slowly may take.
PARTING_SECONDS = 4.5
# One transaction's share of them.
PARTING_PATIENCE_SECONDS = 2.0
# What the release itself needs of them, after an upload.
RELEASE_SECONDS = 1.5


class Courier:
    """Claims ahead, extends leases, sends reports and checkpoints, tells endings, fetches news.

    Tasks run in the order in which training asked for them, so that with one worker the draws
    follow from the seed alone; one that the database refuses stays the next. A with-block ends
    when all endings are told, or PARTING_SECONDS after a stop.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        study_name: str | None,
        machine: Machine,
        settings: Settings,
        stop: Event,
    ) -> None:
        self.counts: Counter[Outcome] = Counter()
        self.gave_up = ""
        self._engine = engine
        self._settings = settings
        self._stop = stop
        self._room = Room(
            engine, study_name=study_name, machine=machine, settings=settings, pulse=self._pulse
        )
        self._tasks: deque[Callable[[], None]] = deque()
        self._attempts: list[tuple[Ready, Outbox]] = []
        self._ready: Ready | None = None
        self._wants_one = False
        self._is_over = False
        self._unjudged = 0
        self._error: Exception | None = None
        self._deadline: float | None = None
        self._failed: list[int] = []
        self._backoff = Backoff()
        self._done_at: dict[str, float] = {}
        self._redraw_seconds = 0.0
        self._changed = Condition()
        self._wake = Event()
        self._is_leaving = False
        self._has_left = False
        self._thread = Thread(target=self._run, name="courier", daemon=True)

    def next(self) -> tuple[Ready, Outbox] | None:
        """The next trial to train, while the one after it is claimed.

        None once there is none, or a stop was asked for. Raises what ended the courier.
        """
        with self._changed:
            if self._ready is None and not self._wants_one:
                self._is_over = False
                self._want()
            while not self._changed.wait_for(self._has_answer, timeout=TICK_SECONDS):
                pass
            if self._error is not None:
                raise self._error
            if self._stop.is_set() or self._ready is None or self.gave_up:
                return None
            ready, self._ready = self._ready, None
            outbox = Outbox(ready.claim, stored=ready.stored)
            self._attempts.append((ready, outbox))
            if ready.is_ahead:
                self._ask(lambda: self._begin(ready, outbox))
            self._want()
            return ready, outbox

    def end(self, outbox: Outbox, ending: Ending) -> None:
        """Tell how an attempt ended, after all that was asked before."""
        with self._changed:
            # Whether this worker is at fault is found out before it trains another trial.
            self._unjudged += ending.outcome == "failed"
            outbox.ending = ending
        self._ask(lambda: self._close(outbox, ending))

    def __enter__(self) -> Courier:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._is_leaving = True
        self._ask(self._leave)
        while self._thread.is_alive():
            if self._deadline is None and (self._stop.is_set() or error is not None):
                self._engine.update_execution_options(muster_patience=PARTING_PATIENCE_SECONDS)
                self._deadline = time.monotonic() + PARTING_SECONDS
            # A little longer than the courier's own deadline: it may be about to make it.
            if self._is_out_of_time(spare_seconds=-0.5):
                break
            self._thread.join(TICK_SECONDS)
        if not self._has_left and self._attempts:
            log.warning(
                "left without an answer from the database: trial %s goes on elsewhere from its "
                "last stored checkpoint, once its lease of %g s has run out",
                ", ".join(str(ready.claim.number) for ready, _ in self._attempts),
                self._settings.lease_seconds,
            )

    def _has_answer(self) -> bool:
        if self._error is not None or self._stop.is_set():
            return True
        return not self._unjudged and bool(self._ready or self._is_over or self.gave_up)

    def _ask(self, task: Callable[[], None]) -> None:
        self._tasks.append(task)
        self._wake.set()

    def _want(self) -> None:
        self._wants_one = True
        self._ask(self._claim)

    def _is_out_of_time(self, *, spare_seconds: float = 0.0) -> bool:
        return self._deadline is not None and time.monotonic() > self._deadline - spare_seconds

    # From here on: the courier's own thread.

    def _run(self) -> None:
        try:
            while not self._has_left and not self._is_out_of_time():
                self._wake.wait(self._backoff.wait_seconds() or TICK_SECONDS)
                self._wake.clear()
                self._serve()
        except Exception as error:
            # Nobody would speak for what trains on.
            for _, outbox in self._attempts:
                outbox.is_lost.set()
            self._fail(error)

    def _serve(self) -> None:
        """Do what is asked and what is due; the database's first refusal ends the round."""
        try:
            self._beat()
            while self._tasks:
                self._tasks[0]()
                self._tasks.popleft()
            if self._has_left:
                return
            if self._wants_one and self._is_due("claim", IDLE_SECONDS):
                self._claim()
            if self._is_due("send", min(REPORT_SECONDS, self._settings.heartbeat_seconds)):
                self._send()
            if self._is_due("news", min(NEWS_SECONDS, self._settings.heartbeat_seconds)):
                self._fetch_news()
        except Unavailable as error:
            self._backoff.refused(error)
        else:
            self._backoff.taken()

    def _is_due(self, what: str, seconds: float) -> bool:
        """Whether that long has passed since the last time; if so, now is the last time."""
        now, done_at = time.monotonic(), self._done_at.get(what)
        if done_at is not None and now - done_at < seconds:
            return False
        self._done_at[what] = now
        return True

    def _pulse(self) -> None:
        """Keep the leases while something large travels. Raises OutOfTime, Unavailable."""
        if self._is_out_of_time(spare_seconds=RELEASE_SECONDS):
            raise OutOfTime("the worker was asked to stop and has no more time")
        self._beat()

    def _beat(self) -> None:
        if not self._is_due("beat", self._settings.heartbeat_seconds):
            return
        for ready, outbox in self._running():
            try:
                trials.extend(self._engine, ready.claim)
            except LeaseLost:
                outbox.is_lost.set()
        if (ahead := self._ready) is not None:
            try:
                trials.extend(self._engine, ahead.claim)
            except LeaseLost:
                self._take_back(ahead)

    def _running(self) -> list[tuple[Ready, Outbox]]:
        """Attempts that are not told yet and not lost."""
        with self._changed:
            return [each for each in self._attempts if not each[1].is_lost.is_set()]

    def _take_back(self, ready: Ready) -> bool:
        """Offer this trial no more; whether training had not begun it yet."""
        with self._changed:
            if self._ready is not ready:
                return False
            self._ready = None
            self._want()
            return True

    def _claim(self) -> None:
        self._done_at["claim"] = time.monotonic()
        if self._is_leaving or self._stop.is_set():
            return None
        try:
            found = self._room.claim(ahead=self._is_training())
        except DiskFull as error:
            # What trains or waits to be told is kept until there is room.
            if self._attempts:
                raise
            return self._fail(error)
        except UserError as error:
            return self._fail(error)
        return self._answer(found)

    def _answer(self, found: Ready | bool) -> None:
        with self._changed:
            if isinstance(found, Ready):
                self._ready = found
            self._is_over = found is True
            self._wants_one = found is False
            self._changed.notify_all()

    def _fail(self, error: Exception) -> None:
        with self._changed:
            self._wants_one = False
            self._error = error
            self._changed.notify_all()

    def _begin(self, ready: Ready, outbox: Outbox) -> None:
        try:
            trials.begin(self._engine, ready.claim, redrawn=ready.redrawn)
        except LeaseLost as error:
            log.info("%s", error)
            outbox.is_lost.set()
            with contextlib.suppress(LeaseLost):
                # Still ours where only its configuration was another's: for anybody to run.
                trials.release(self._engine, ready.claim)

    def _send(self) -> None:
        for _, outbox in self._running():
            if outbox.ending is None and outbox.has_news:
                try:
                    outbox.send(self._engine, self._pulse)
                except LeaseLost:
                    outbox.is_lost.set()

    def _fetch_news(self) -> None:
        running, ahead = self._running(), self._ready
        held = running if ahead is None else [*running, (ahead, None)]
        for desk in {id(ready.desk): ready.desk for ready, _ in held}.values():
            outboxes = [box for ready, box in running if ready.desk is desk]
            is_ahead = ahead is not None and ahead.desk is desk
            try:
                desk.context.mirror.refresh()
                if not is_stopped(self._engine, desk.study):
                    continue
                for outbox in outboxes:
                    outbox.is_draining.set()
            except UserError as error:
                for outbox in outboxes:
                    outbox.is_lost.set()
                self._drop(desk, error)
            if is_ahead and ahead is not None:
                self._give_back(ahead)
        if self._ready is not None and self._ready is ahead:
            self._redraw(ahead)

    def _redraw(self, ahead: Ready) -> None:
        """Draw anew what was claimed ahead, once other trials have finished since.

        Not while no trial trains here: the one that just ended is not to count, so that with one
        worker the draws follow from the seed alone.
        """
        known = ahead.desk.context.mirror.finished
        if known == ahead.known or not self._is_training():
            return
        if not self._is_due("redraw", REDRAWING_SHARE * self._redraw_seconds):
            return
        started = time.monotonic()
        proposal = ahead.desk.redraw(ahead.claim)
        self._redraw_seconds = time.monotonic() - started
        if proposal is None:
            return
        redrawn = replace(
            ahead,
            claim=replace(ahead.claim, params=proposal.params),
            known=known,
            redrawn=proposal,
        )
        with self._changed:
            if self._ready is ahead and self._is_training():
                self._ready = redrawn

    def _is_training(self) -> bool:
        return any(box.ending is None for _, box in self._running())

    def _drop(self, desk: Desk, error: UserError) -> None:
        try:
            self._room.drop(desk, error)
        except UserError as final:
            self._fail(final)

    def _give_back(self, ready: Ready) -> None:
        if self._take_back(ready):
            try:
                trials.release(self._engine, ready.claim)
            except LeaseLost:
                log.debug("trial %s was taken over before it began", ready.claim.number)

    def _close(self, outbox: Outbox, ending: Ending) -> None:
        ready = next(ready for ready, box in self._attempts if box is outbox)
        outcome = ending.outcome
        try:
            if outbox.is_lost.is_set():
                raise LeaseLost(f"trial {ready.claim.number}")
            outbox.close(self._engine, self._pulse)
        except LeaseLost:
            outcome = "lost"
            log.warning("trial %s: another worker holds it by now", ready.claim.number)
        except UserError as error:
            # What the database cannot take is the configuration's fault.
            outcome = "failed"
            outbox.ending = Ending("failed", error=str(error))
            outbox.close(self._engine, self._pulse)
        name = ready.desk.study.name
        log.info("trial %s of study %s: %s", ready.claim.number, name, outcome)
        self._judge(ready, outcome)
        with self._changed:
            self.counts[outcome] += 1
            self._attempts.remove((ready, outbox))
            self._unjudged -= ending.outcome == "failed"
            self._changed.notify_all()
        if outcome == "complete" and self._is_due("tidy", TIDY_SECONDS):
            self._tidy(ready.desk)

    def _judge(self, ready: Ready, outcome: Outcome) -> None:
        """Give up where several trials in a row failed here, and none on another worker."""
        if outcome != "failed":
            if outcome != "lost":
                self._failed.clear()
            return
        if ready.claim.trial_id not in self._failed:
            self._failed.append(ready.claim.trial_id)
        if len(self._failed) < FAILURES_IN_A_ROW:
            return
        if workers.has_failed_elsewhere(self._engine, ready.desk.worker):
            return
        self.gave_up = (
            f"{len(self._failed)} trials in a row failed on this worker and none on others; it "
            "stops. The tracebacks are on the trials, in the dashboard"
        )

    def _tidy(self, desk: Desk) -> None:
        """Drop the weights of trials that fell behind; the next round does what fails here."""
        try:
            blobs.keep_best_weights(self._engine, desk.study, keep=self._settings.keep_weights)
        except Unavailable as error:
            log.warning("weights of lesser trials are kept for now: %s", error)

    def _leave(self) -> None:
        if self._ready is not None:
            self._give_back(self._ready)
        for desk in self._room.desks.values():
            if self.counts["complete"]:
                self._tidy(desk)
            desk.leave()
        self._has_left = True
