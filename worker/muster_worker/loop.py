"""Claim, run, tell, until there is nothing left to claim or somebody says stop."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field
from threading import Event

from sqlalchemy import Engine

from muster.errors import DiskFull, Unavailable, UserError
from muster.settings import Settings
from muster_db import workers
from muster_db.claims import Claim
from muster_db.study import Study, list_studies, open_study, progress
from muster_worker.desk import Desk, join
from muster_worker.heartbeat import PARTING_SECONDS
from muster_worker.machine import Machine
from muster_worker.run import Outcome, run_trial

log = logging.getLogger(__name__)

# How often a worker that found nothing to claim looks for a trial that another one left.
IDLE_SECONDS = 2.0
FAILURES_IN_A_ROW = 3
PATIENCE_SECONDS = 4.0


@dataclass
class Ended:
    """How a worker's time went; gave_up: why it stopped of its own accord, if it did."""

    counts: Counter[Outcome] = field(default_factory=Counter)
    gave_up: str = ""


def work(
    engine: Engine, *, study_name: str | None, machine: Machine, settings: Settings, stop: Event
) -> Ended:
    """Serve one study, or all open ones in turn by priority, until all their trials are told.

    Raises UserError for an unknown study, and where nothing can be served: another version of
    muster than the study's, or a dataset that is gone or does not match its fingerprint.
    """
    ended = Ended()
    # Whatever must not be lost is repeated anyway, and a stop is heard between two tries.
    engine.update_execution_options(muster_patience=PATIENCE_SECONDS)
    room = _Room(engine, study_name, machine, settings)
    failed: list[int] = []
    try:
        while not stop.is_set():
            found = _next(room, stop)
            if found is None:
                return ended
            desk, claim = found
            outcome = run_trial(desk.context, claim, stop=stop)
            desk.served += 1
            ended.counts[outcome] += 1
            log.info("trial %s of study %s: %s", claim.number, desk.study.name, outcome)
            if outcome != "failed":
                failed.clear()
            elif claim.trial_id not in failed:
                failed.append(claim.trial_id)
            if len(failed) >= FAILURES_IN_A_ROW and _is_mine_alone(engine, desk):
                ended.gave_up = (
                    f"{len(failed)} trials in a row failed on this worker and none on others; it "
                    "stops. The tracebacks are on the trials, in the dashboard"
                )
                return ended
        return ended
    finally:
        engine.update_execution_options(muster_patience=PARTING_SECONDS)
        for desk in room.desks.values():
            desk.leave()


class _Room:
    """The desks of a worker: joined when first needed, the most urgent study first."""

    def __init__(
        self, engine: Engine, study_name: str | None, machine: Machine, settings: Settings
    ) -> None:
        self.desks: dict[int, Desk] = {}
        self._engine = engine
        self._study_name = study_name
        self._machine = machine
        self._settings = settings
        self._refused: dict[int, UserError] = {}

    def in_turn(self) -> list[Desk]:
        """Desks at the open studies: by priority, among equals the least served first."""
        wanted = self._studies()
        desks = [desk for desk in map(self._desk, wanted) if desk is not None]
        if wanted and not desks:
            raise self._refused[wanted[0].study_id]
        return sorted(desks, key=lambda desk: (-desk.study.priority, desk.served))

    def _studies(self) -> list[Study]:
        if self._study_name is not None:
            return [open_study(self._engine, self._study_name)]
        return [
            study
            for study in list_studies(self._engine)
            if study.state == "open"
            and (study.study_id in self.desks or not progress(self._engine, study).is_finished)
        ]

    def _desk(self, study: Study) -> Desk | None:
        known = self.desks.get(study.study_id)
        if known is not None or study.study_id in self._refused:
            return known
        try:
            desk = join(self._engine, study, machine=self._machine, settings=self._settings)
        except UserError as error:
            # One study that cannot run here must not keep the worker from the others.
            self._refused[study.study_id] = error
            log.warning("study %s is passed over: %s", study.name, error)
            return None
        self.desks[study.study_id] = desk
        return desk


def _next(room: _Room, stop: Event) -> tuple[Desk, Claim] | None:
    """Wait for a trial to run; None once all are told or stopped, or stop is set."""
    wait_seconds = 0.0
    while not stop.wait(wait_seconds):
        wait_seconds = IDLE_SECONDS
        try:
            is_over = True
            for desk in room.in_turn():
                found = desk.claim()
                if isinstance(found, Claim):
                    return desk, found
                is_over = is_over and (found.is_finished or found.is_stopped)
            if is_over:
                return None
        except DiskFull:
            raise
        except Unavailable as error:
            log.warning("database away, trying again: %s", error)
    return None


def _is_mine_alone(engine: Engine, desk: Desk) -> bool:
    """Whether no other worker of the study saw a trial fail: then this machine is at fault."""
    return not workers.has_failed_elsewhere(engine, desk.worker)
