"""Train one trial after the other until none is left or somebody says stop."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from threading import Event

from muster.errors import AccessDenied, MembershipEnded, NotAllowed
from muster.logs import about
from muster.settings import Settings
from muster_db import blobs
from muster_db.database import Database, set_patience, write_often
from muster_worker.courier import Courier
from muster_worker.machine import Machine
from muster_worker.outbox import Outcome
from muster_worker.readings import Reporter
from muster_worker.room import Ready
from muster_worker.run import run_trial
from muster_worker.speed import steps_per_second

log = logging.getLogger(__name__)

# What the database does not take by then is repeated anyway, after a wait.
PATIENCE_SECONDS = 4.0


@dataclass
class Ended:
    """How a worker's time went; gave_up: why it stopped of its own accord, if it did."""

    counts: Counter[Outcome] = field(default_factory=Counter)
    gave_up: str = ""


def work(
    engine: Database,
    *,
    study_name: str | None,
    machine: Machine,
    settings: Settings,
    stop: Event,
    reporter: Reporter | None = None,
) -> Ended:
    """Serve one study, or all open ones in turn by priority, until all their trials are told.

    reporter: tells the supervisor of a slot how training goes. Raises UserError for an unknown
    study, and where nothing can be served: another version of muster than the study's, or a
    dataset that is gone or does not match its fingerprint. Raises MembershipEnded where the
    database does not let this worker in any more.
    """
    set_patience(engine, PATIENCE_SECONDS)
    write_often(engine)
    courier = Courier(engine, study_name=study_name, machine=machine, settings=settings, stop=stop)
    if stop.is_set():
        return Ended()
    with _let_in(courier), courier:
        courier.ask_ahead()
        # Beside the first claim, while training would wait.
        courier.describe(_speed(machine, settings, courier))
        while (found := courier.next()) is not None:
            ready, outbox = found
            with about(**ready.facts):
                ending = run_trial(
                    ready.desk.context,
                    outbox,
                    checkpoints=_checkpoints(engine, ready),
                    stop=stop,
                    reporter=reporter,
                )
            courier.end(outbox, ending)
    return Ended(courier.counts, courier.gave_up)


@contextmanager
def _let_in(courier: Courier) -> Iterator[None]:
    """Turn AccessDenied into MembershipEnded: who was let in on beginning was shut out since.

    A session that goes on while its account is gone has no right to anything any more; a viewer
    had none to begin with.
    """
    try:
        yield
    except AccessDenied as error:
        if isinstance(error, NotAllowed) and not courier.has_joined:
            raise
        raise MembershipEnded(
            "this membership has ended: the database no longer lets this worker's account in, "
            "which was revoked, has expired or has another password; what was trained here goes "
            "on elsewhere; to join again ask for a new invitation"
        ) from error


def _speed(machine: Machine, settings: Settings, courier: Courier) -> float | None:
    """Training steps a second, measured until there is a trial to train."""
    if settings.probe_seconds == 0:
        return None
    return steps_per_second(
        machine.device, seconds=settings.probe_seconds, is_enough=lambda: courier.has_answer
    )


def _checkpoints(engine: Database, ready: Ready) -> Iterator[Callable[[], bytes]]:
    """The one that came with the claim, then, only where that is no good, the one before."""
    if ready.checkpoint is not None:
        yield partial(_given, ready.checkpoint)
    if ready.older is not None:
        yield partial(blobs.get, engine, ready.older)


def _given(data: bytes) -> bytes:
    return data
