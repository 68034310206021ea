"""The current ensemble of what a worker serves, kept up to date beside its training."""

from __future__ import annotations

import logging
import os
import resource
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any

from sqlalchemy import Engine

from muster.errors import MusterError
from muster.settings import Settings
from muster_cli.options import database_url
from muster_cli.processes import muster_command
from muster_db import ensembles
from muster_db.database import Database
from muster_db.proxy.client import Remote
from muster_db.study import Study, open_study
from muster_ensemble.estimate import check_rule
from muster_ensemble.live import look
from muster_worker.children import see_out, start_child

log = logging.getLogger(__name__)

# Of a turn whose process has died, others wait for the rest of this.
HOLD_SECONDS = 60.0
RENEWED_SECONDS = 15.0
# An estimate that takes longer is given up.
LONGEST_SECONDS = 900.0
# Estimates take a tenth of one core's time at most.
RESTS = 9.0
LOOK_SECONDS = 0.2
# What is about to end an estimate may take as much of the time that a stop leaves.
LEAVING_SECONDS = 3.0
# Below everything else on the machine, training above all.
NICENESS = 19


@contextmanager
def estimating(
    database: Database,
    *,
    study: str | None,
    settings: Settings,
    stop: Event,
    is_voted_after: bool = False,
) -> Iterator[None]:
    """Keep the current ensemble of the named study, or of all open ones, while the block runs.

    One process at a time in the whole fleet makes an estimate, in a process of its own with one
    thread and the lowest priority. Where the block ends without a stop, the last trials are
    looked at too, unless is_voted_after. Of what a worker reaches through a proxy, the proxy takes
    care. Raises UserError for an unknown rule.
    """
    if not settings.ensemble_seconds or isinstance(database, Remote):
        yield
        return
    check_rule(settings.ensemble_rule)
    over = Event()
    thread = _start(_keep_looking, database, study, settings, over, stop)
    try:
        yield
    finally:
        over.set()
        thread.join(LEAVING_SECONDS)
    if is_voted_after:
        return
    # In a thread, so that a stop need not wait for it.
    last = _start(look_last, database, study, settings)
    while last.is_alive() and not stop.wait(LOOK_SECONDS):
        pass


def look_last(engine: Engine, study: str | None, settings: Settings) -> None:
    """Look at what was told since the last estimate, in this process."""
    looked_at: set[str] = set()
    try:
        while (name := _take_turn(engine, study, is_last=True)) is not None:
            found = open_study(engine, name)
            try:
                look(engine, found, rule=settings.ensemble_rule, cache=settings.cache_dir)
            finally:
                ensembles.end_turn(engine, found, rest_seconds=settings.ensemble_seconds)
            # Once more for what was told meanwhile, but not for ever for what is too large here.
            if name in looked_at:
                return
            looked_at.add(name)
    except MusterError as error:
        log.warning("the last estimate of the ensemble was not made: %s", error)


def _start(target: Callable[..., None], *arguments: Any) -> Thread:
    thread = Thread(target=target, args=arguments, name="ensemble", daemon=True)
    thread.start()
    return thread


def _take_turn(engine: Engine, study: str | None, *, is_last: bool = False) -> str | None:
    return ensembles.take_turn(
        engine, hold_seconds=HOLD_SECONDS, study_name=study, is_last=is_last
    )


def _keep_looking(
    engine: Engine, study: str | None, settings: Settings, over: Event, stop: Event
) -> None:
    while not over.wait(settings.ensemble_seconds):
        try:
            if (name := _take_turn(engine, study)) is not None:
                _look_aside(engine, open_study(engine, name), settings, over, stop)
        except MusterError as error:
            # Nobody waits for it: the next turn will do.
            log.debug("no estimate of the ensemble this time: %s", error)


def _look_aside(
    engine: Engine, study: Study, settings: Settings, over: Event, stop: Event
) -> None:
    """Let another process look at the study; once the block is over, it is ended."""
    started = held = time.monotonic()
    worked = _seconds_of_children()
    process = start_child(
        muster_command("ensemble", study.name, "--live"),
        url=database_url(settings),
        threads=1,
        environment=os.environ,
    )
    try:
        _yield_to_others(process)
        while process.poll() is None and not over.wait(LOOK_SECONDS):
            if time.monotonic() - started > LONGEST_SECONDS:
                log.warning(
                    "study %s: the ensemble's estimate takes longer than %.0f s and is given up; "
                    "`muster ensemble %s` makes it",
                    study.name,
                    LONGEST_SECONDS,
                    study.name,
                )
                break
            if time.monotonic() - held > RENEWED_SECONDS:
                held = time.monotonic()
                ensembles.hold_turn(engine, study, hold_seconds=HOLD_SECONDS)
    finally:
        see_out([process], seconds=1.0)
    if not stop.is_set():
        # By the processor's time: at the lowest priority, most of the clock's is waiting.
        rest = max(settings.ensemble_seconds, RESTS * (_seconds_of_children() - worked))
        ensembles.end_turn(engine, study, rest_seconds=rest)


def _seconds_of_children() -> float:
    """Processor time of this process's children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _yield_to_others(process: subprocess.Popen[bytes]) -> None:
    try:
        os.setpriority(os.PRIO_PROCESS, process.pid, NICENESS)
    except OSError as error:
        # It has ended already.
        log.debug("no lower priority for process %d: %s", process.pid, error)
