"""The studies that a worker serves, in turn, and the next trial of theirs to run."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from muster.errors import UserError
from muster.logs import about
from muster.settings import Settings
from muster_db import blobs, trials
from muster_db.blobs import DamagedBlob
from muster_db.claims import Claim
from muster_db.database import Database
from muster_db.names import CHECKPOINT
from muster_db.progress import progress
from muster_db.records import Proposal
from muster_db.study import Study, list_studies, open_study
from muster_db.workers import Equipment
from muster_worker.desk import Desk, join
from muster_worker.equipment import equipment_of
from muster_worker.machine import Machine
from muster_worker.outbox import PREVIOUS

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ready:
    """A trial to run next. is_ahead: claimed while another one trains, and not begun yet.

    checkpoint: where to go on, with its SHA-256 as stored; older: that of the one before. known:
    how many trials had finished when it was drawn; redrawn: what it was drawn anew as.
    """

    desk: Desk
    claim: Claim
    is_ahead: bool
    checkpoint: bytes | None = None
    stored: str | None = None
    older: str | None = None
    known: int = 0
    redrawn: Proposal | None = None

    @property
    def facts(self) -> dict[str, object]:
        """What is logged of it beside the words."""
        return {**self.desk.facts, "trial": self.claim.number}


class Room:
    """The desks of a worker: joined when first needed, the most urgent study first.

    study_name: the one study to serve, or None for all open ones. pulse is called between the
    pieces of what takes long.
    """

    def __init__(
        self,
        engine: Database,
        *,
        study_name: str | None,
        machine: Machine,
        settings: Settings,
        pulse: Callable[[], None],
    ) -> None:
        self.desks: dict[int, Desk] = {}
        self._equipment = equipment_of(machine)
        self._engine = engine
        self._study_name = study_name
        self._machine = machine
        self._settings = settings
        self._pulse = pulse
        self._refused: dict[int, UserError] = {}

    def claim(self, *, ahead: bool) -> Ready | bool:
        """The next trial to run; else whether nothing is left to wait for.

        Raises UserError where no study can be served, Unavailable.
        """
        is_over = True
        for desk in self._in_turn():
            try:
                found = desk.claim(ahead=ahead)
            except UserError as error:
                self.drop(desk, error)
                continue
            if isinstance(found, Claim):
                return self._ready(desk, found, is_ahead=ahead)
            is_over = is_over and (found.is_finished or found.is_stopped)
        return is_over

    def describe(self, equipment: Equipment) -> None:
        """Note at every desk, and on joining another study, what was found on this machine.

        Raises Unavailable.
        """
        self._equipment = equipment
        for desk in self.desks.values():
            desk.describe(equipment)

    def drop(self, desk: Desk, error: UserError) -> None:
        """Serve this study no more. Raises the error where it was the only one asked for."""
        self.desks.pop(desk.study.study_id, None)
        self._refuse(desk.study, error)
        if self._study_name is not None:
            raise error

    def _in_turn(self) -> list[Desk]:
        """Desks at the open studies: by priority, among equals the least served first."""
        wanted = self._studies()
        desks = [desk for desk in map(self._desk, wanted) if desk is not None]
        if wanted and not desks:
            raise self._refused[wanted[0].study_id]
        return sorted(desks, key=lambda desk: (-desk.study.priority, desk.served))

    def _studies(self) -> list[Study]:
        if self._study_name is not None:
            if self.desks:
                return [desk.study for desk in self.desks.values()]
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
            desk = join(
                self._engine,
                study,
                machine=self._machine,
                settings=self._settings,
                pulse=self._pulse,
                datasets_here={
                    desk.study.contract.dataset_fingerprint: desk.context.dataset
                    for desk in self.desks.values()
                },
                equipment=self._equipment,
            )
        except UserError as error:
            # One study that cannot run here must not keep the worker from the others.
            self._refuse(study, error)
            return None
        self.desks[study.study_id] = desk
        return desk

    def _refuse(self, study: Study, error: UserError) -> None:
        self._refused[study.study_id] = error
        with about(study=study.name):
            log.warning("study %s is passed over: %s", study.name, error)

    def _ready(self, desk: Desk, claim: Claim, *, is_ahead: bool) -> Ready:
        if claim.attempt == 1:
            return Ready(desk, claim, is_ahead, known=desk.context.mirror.finished)
        names = trials.blob_names(self._engine, claim.trial_id)
        digests = [names[name] for name in (CHECKPOINT, PREVIOUS) if name in names]
        for position, digest in enumerate(digests):
            try:
                data = blobs.get(self._engine, digest, between=self._pulse)
            except DamagedBlob as error:
                log.warning("trial %s: a checkpoint is passed over: %s", claim.number, error)
                continue
            older = next(iter(digests[position + 1 :]), None)
            return Ready(desk, claim, is_ahead, data, digest, older)
        return Ready(desk, claim, is_ahead)
