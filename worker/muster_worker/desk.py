"""A worker's place at one study: joined, with all that its trials share."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from importlib.metadata import version
from uuid import uuid4

import numpy as np

from muster.data.dataset import Dataset
from muster.errors import Unavailable
from muster.logs import about
from muster.settings import Settings
from muster.space import parse_space
from muster_db import blobs, claims, datasets, joining, workers
from muster_db.claims import Claim
from muster_db.database import Database
from muster_db.limits import NO_LIMITS
from muster_db.mirror import Mirror
from muster_db.progress import StudyProgress
from muster_db.records import Proposal
from muster_db.samplers import ADAPTIVE, is_drawn_late
from muster_db.study import Study
from muster_db.workers import Equipment
from muster_worker.machine import Machine
from muster_worker.run import Context

log = logging.getLogger(__name__)


class Desk:
    """One study as this worker serves it. served: trials that it claimed here."""

    def __init__(self, context: Context, worker: workers.Worker, engine: Database) -> None:
        self.context = context
        self.worker = worker
        self.served = 0
        self._hurries = False
        self._engine = engine

    @property
    def study(self) -> Study:
        """The study as it was on joining."""
        return self.context.study

    @property
    def facts(self) -> dict[str, object]:
        """What is logged of it beside the words."""
        return {"study": self.study.name, "worker": self.worker.ordinal}

    def claim(self, *, ahead: bool) -> Claim | StudyProgress:
        """The next trial here, or how far the study is; ahead: to be begun later.

        Raises Unavailable.
        """
        # Where the last one took a new slot, nobody has left anything, most likely.
        hurry, self._hurries = self._hurries, False
        found = claims.claim(
            self._engine,
            self.study,
            worker_id=self.worker.worker_id,
            lease_seconds=self.context.settings.lease_seconds,
            propose=lambda: self.context.mirror.propose(
                self.context.space.suggest, worker_ordinal=self.worker.ordinal
            ),
            ahead=ahead,
            hurry=ahead and hurry,
        )
        if isinstance(found, Claim):
            self.served += 1
            self._hurries = found.attempt == 1 and self.study.limits == NO_LIMITS
        return found

    def draws_late(self, claim: Claim) -> bool:
        """Whether a trial that was claimed ahead is drawn as it begins: it takes milliseconds."""
        return not self._is_given(claim) and is_drawn_late(
            self.study.contract.sampler, claim.number
        )

    def describe(self, equipment: Equipment) -> None:
        """Note what was found on this machine since joining. Raises Unavailable."""
        workers.describe(self._engine, self.worker, equipment)

    def redraw(self, claim: Claim) -> Proposal | None:
        """A configuration from what is known by now for a trial that was claimed ahead.

        None where that does not change it: it is given, not drawn, or its sampler does not look.
        """
        if self._is_given(claim) or self.study.contract.sampler not in ADAPTIVE:
            return None
        return self.context.mirror.redraw(
            self.context.space.suggest,
            worker_ordinal=self.worker.ordinal,
            number=claim.number,
            params=claim.params,
        )

    def _is_given(self, claim: Claim) -> bool:
        return claim.attempt > 1 or claim.number < len(self.study.contract.first)

    def tidy(self) -> None:
        """Drop the weights of trials that fell behind; the next round does what fails here.

        All refits are members.
        """
        if self.study.contract.refits:
            return
        keep = self.context.settings.keep_weights
        try:
            blobs.keep_best_weights(self._engine, self.study, keep=keep)
        except Unavailable as error:
            log.warning("weights of lesser trials are kept for now: %s", error)

    def leave(self) -> None:
        """Sign off; a database that is away has its own message by then."""
        try:
            workers.leave(self._engine, self.worker, pace=self.context.meter.pace)
        except Unavailable as error:
            with about(**self.facts):
                log.warning("worker %s could not sign off: %s", self.worker.ordinal, error)


def join(
    engine: Database,
    study: Study,
    *,
    machine: Machine,
    settings: Settings,
    pulse: Callable[[], None] = lambda: None,
    datasets_here: Mapping[str, Dataset] | None = None,
    equipment: Equipment = workers.UNKNOWN,
) -> Desk:
    """Fetch what the study's trials need and sign up.

    pulse is called between the pieces of the dataset. datasets_here: what this process holds
    already, by fingerprint, so that it holds each once. equipment: what was found here so far.
    Raises UserError for another version of muster than the study's, and for a dataset that is
    gone or does not match its fingerprint; then nothing is left behind.
    """
    contract = study.contract
    joining.check_version(study, code_version=version("muster"))
    joining.check_dataset(engine, study)
    dataset = (datasets_here or {}).get(contract.dataset_fingerprint)
    if dataset is None:
        dataset = datasets.fetch(
            engine, contract.dataset_fingerprint, cache=settings.cache_dir, between=pulse
        )
    context = Context(
        study=study,
        dataset=dataset,
        folds=np.asarray(contract.folds, dtype=np.int64),
        space=parse_space(contract.space, place=f"search space of study {study.name}"),
        mirror=Mirror(engine, study),
        machine=machine,
        settings=settings,
    )
    worker = workers.register(
        engine,
        study,
        host=machine.host,
        device=machine.description,
        equipment=equipment,
        token=uuid4().hex,
    )
    desk = Desk(context, worker, engine)
    with about(**desk.facts):
        log.info(
            "joined study %s as worker %s on %s (%s)",
            study.name,
            worker.ordinal,
            machine.host,
            machine.description,
        )
    return desk
