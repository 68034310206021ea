"""The one thread of a worker that speaks with the database, so that training never waits."""

from __future__ import annotations

import contextlib
import logging
import time
from collections import Counter, deque
from collections.abc import Callable
from threading import Condition, Event, Thread
from types import TracebackType

from muster.errors import AccessDenied, DiskFull, Unavailable, UserError
from muster.logs import about
from muster.settings import Settings
from muster_db import trials
from muster_db.database import Database, set_patience
from muster_db.distance import round_trip_seconds
from muster_db.progress import is_stopped
from muster_worker.ahead import Ahead, newest
from muster_worker.attempts import Attempts
from muster_worker.backoff import Backoff
from muster_worker.desk import Desk
from muster_worker.equipment import describe, measured
from muster_worker.machine import Machine
from muster_worker.outbox import Ending, Outbox, Outcome, OutOfTime
from muster_worker.room import Ready, Room
from muster_worker.streak import Streak
from muster_worker.timetable import Timetable

log = logging.getLogger(__name__)

# How often a worker that found nothing to claim looks for a trial that another one left.
IDLE_SECONDS = 2.0
# Reports, and the news of others, travel that often at most.
REPORT_SECONDS = 1.0
NEWS_SECONDS = 2.0
TIDY_SECONDS = 30.0
# How often a busy worker releases what others left; an idle one does so whenever it looks.
REAP_SECONDS = 20.0
TICK_SECONDS = 0.1
# Of the 10 s that docker stop grants, those that a database that answers slowly may take.
PARTING_SECONDS = 4.0
# One transaction's share of them.
PARTING_PATIENCE_SECONDS = 1.5
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
        engine: Database,
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
        self._machine = machine
        self._stop = stop
        self._room = Room(
            engine, study_name=study_name, machine=machine, settings=settings, pulse=self._pulse
        )
        self._tasks: deque[Callable[[], None]] = deque()
        self._attempts = Attempts(engine)
        self._changed = Condition()
        self._ahead = Ahead(engine, changed=self._changed, ask=lambda: self._ask(self._claim))
        self._unjudged = 0
        self._error: Exception | None = None
        self._deadline: float | None = None
        self._streak = Streak(engine)
        self._backoff = Backoff()
        self._timetable = Timetable()
        self._wake = Event()
        self._is_leaving = False
        self._has_left = False
        self._thread = Thread(target=self._run, name="courier", daemon=True)

    def ask_ahead(self) -> None:
        """Ask for the first trial; next() will wait for it."""
        self._ahead.want()

    @property
    def has_answer(self) -> bool:
        """Whether next() would return, or raise, at once."""
        with self._changed:
            return self._has_answer()

    def describe(self, steps_per_second: float | None) -> None:
        """Say what was found on this machine, and how far away the database is."""
        self._ask(lambda: self._describe(steps_per_second))

    @property
    def has_joined(self) -> bool:
        """Whether this worker has signed up for a study."""
        return bool(self._room.desks)

    def next(self) -> tuple[Ready, Outbox] | None:
        """The next trial to train, while the one after it is claimed.

        None once there is none, or a stop was asked for. Raises what ended the courier.
        """
        with self._changed:
            if self._ahead.ready is None and not self._ahead.is_wanted:
                self._ahead.want()
            while not self._changed.wait_for(self._has_answer, timeout=TICK_SECONDS):
                pass
            if self._error is not None:
                raise self._error
            taken = self._ahead.ready
            if self._stop.is_set() or taken is None or self.gave_up:
                return None
            self._ahead.ready = None
        ready = newest(taken)
        with self._changed:
            if self._error is not None:
                raise self._error
            outbox = self._attempts.add(ready)
            if ready.is_ahead:
                self._ask(lambda: self._attempts.begin(ready, outbox))
            self._ahead.want()
            return ready, outbox

    def end(self, outbox: Outbox, ending: Ending) -> None:
        """Tell how an attempt ended, after all that was asked before."""
        with self._changed:
            # Whether this worker is at fault is found out before it trains another trial.
            self._unjudged += ending.outcome == "failed"
            outbox.ending = ending
        self._attempts.note(outbox, ending)
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
                set_patience(self._engine, PARTING_PATIENCE_SECONDS)
                self._deadline = time.monotonic() + PARTING_SECONDS
            # A little longer than the courier's own deadline: it may be about to make it.
            if self._is_out_of_time(spare_seconds=-0.5):
                break
            self._thread.join(TICK_SECONDS)
        if not self._has_left and not isinstance(self._error, AccessDenied):
            self._attempts.warn_of_rest()

    def _has_answer(self) -> bool:
        if self._error is not None or self._stop.is_set():
            return True
        return not self._unjudged and (self._ahead.has_answer or bool(self.gave_up))

    def _ask(self, task: Callable[[], None]) -> None:
        self._tasks.append(task)
        self._wake.set()

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
            self._attempts.lose()
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
            if self._ahead.is_wanted and self._timetable.is_due("claim", IDLE_SECONDS):
                self._claim()
            beat = self._settings.heartbeat_seconds
            self._attempts.send(self._pulse, after_seconds=min(REPORT_SECONDS, beat))
            if self._timetable.is_due("news", min(NEWS_SECONDS, beat)):
                self._fetch_news()
        except Unavailable as error:
            self._backoff.refused(error)
        else:
            self._backoff.taken()

    def _pulse(self) -> None:
        """Keep the leases while something large travels. Raises OutOfTime, Unavailable."""
        if self._is_out_of_time(spare_seconds=RELEASE_SECONDS):
            raise OutOfTime("the worker was asked to stop and has no more time")
        self._beat()

    def _beat(self) -> None:
        if not self._timetable.is_due("beat", self._settings.heartbeat_seconds):
            return
        self._attempts.extend()
        self._ahead.extend()

    def _claim(self) -> None:
        self._timetable.done("claim")
        # Asked for twice, where what was claimed ahead went to another worker meanwhile.
        if not self._ahead.is_wanted or self._is_leaving or self._stop.is_set():
            return None
        try:
            found = self._room.claim(ahead=self._attempts.is_one_trained())
        except DiskFull as error:
            # What trains or waits to be told is kept until there is room.
            if self._attempts.all():
                raise
            return self._fail(error)
        except UserError as error:
            return self._fail(error)
        if isinstance(found, Ready) and found.claim.attempt == 1 and len(self._room.desks) == 1:
            # The claim has looked for them, and found the study open.
            self._timetable.done("news")
        return self._ahead.answer(found)

    def _describe(self, steps_per_second: float | None) -> None:
        away = round_trip_seconds(self._engine)
        found = measured(self._machine, steps_per_second=steps_per_second, round_trip_seconds=away)
        self._room.describe(found)
        log.info("this machine: %s", describe(self._machine, found))

    def _fail(self, error: Exception) -> None:
        with self._changed:
            self._ahead.is_wanted = False
            self._error = error
            self._changed.notify_all()

    def _fetch_news(self) -> None:
        running, ahead = self._attempts.running(), self._ahead.ready
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
            if is_ahead:
                self._ahead.give_back()
        self._ahead.follow_news(self._attempts.is_one_trained)
        if self._timetable.is_due("reap", REAP_SECONDS):
            trials.reap(self._engine)

    def _drop(self, desk: Desk, error: UserError) -> None:
        try:
            self._room.drop(desk, error)
        except UserError as final:
            self._fail(final)

    def _close(self, outbox: Outbox, ending: Ending) -> None:
        ready = self._attempts.of(outbox)
        with about(**ready.facts):
            outcome = self._attempts.close(outbox, self._pulse)
            name = ready.desk.study.name
            log.info("trial %s of study %s: %s", ready.claim.number, name, outcome)
        if outcome == "failed":
            # What begins next knows of it, however soon that is, if the database is not away.
            with contextlib.suppress(Unavailable):
                ready.desk.context.mirror.refresh()
        self.gave_up = self._streak.judge(ready, outcome) or self.gave_up
        with self._changed:
            self.counts[outcome] += 1
            self._attempts.remove(outbox)
            self._unjudged -= ending.outcome == "failed"
            self._changed.notify_all()
        if outcome == "complete" and self._timetable.is_due("tidy", TIDY_SECONDS):
            ready.desk.tidy()

    def _leave(self) -> None:
        self._ahead.give_back()
        for desk in self._room.desks.values():
            if self.counts["complete"]:
                desk.tidy()
            desk.leave()
        self._has_left = True
