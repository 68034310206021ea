"""Claim, run, tell, until there is nothing left to claim or somebody says stop."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field
from importlib.metadata import version
from threading import Event

import numpy as np
from sqlalchemy import Engine

from muster.errors import DiskFull, Unavailable
from muster.settings import Settings
from muster.space import parse_space
from muster_db import claims, datasets, joining, workers
from muster_db.claims import Claim
from muster_db.mirror import Mirror
from muster_db.study import Study, StudyProgress, list_studies, open_study, progress
from muster_worker.machine import Machine
from muster_worker.run import Context, Outcome, run_trial

log = logging.getLogger(__name__)

# How often a worker that found nothing to claim looks for a trial that another one left.
IDLE_SECONDS = 2.0
FAILURES_IN_A_ROW = 3


@dataclass
class Ended:
    """How a worker's time went; gave_up: why it stopped of its own accord, if it did."""

    counts: Counter[Outcome] = field(default_factory=Counter)
    gave_up: str = ""


def work(
    engine: Engine, *, study_name: str | None, machine: Machine, settings: Settings, stop: Event
) -> Ended:
    """Serve one study, or all open ones by priority, until all their trials are told.

    Raises UserError for an unknown study, another version of muster than the study's, or a
    dataset that is gone or does not match its fingerprint.
    """
    ended = Ended()
    for study in _studies(engine, study_name):
        if not stop.is_set() and not ended.gave_up:
            _serve(engine, study, machine=machine, settings=settings, stop=stop, ended=ended)
    return ended


def _studies(engine: Engine, study_name: str | None) -> list[Study]:
    if study_name is not None:
        return [open_study(engine, study_name)]
    return [
        study
        for study in list_studies(engine)
        if study.state == "open" and not progress(engine, study).is_finished
    ]


def _serve(
    engine: Engine,
    study: Study,
    *,
    machine: Machine,
    settings: Settings,
    stop: Event,
    ended: Ended,
) -> None:
    contract = study.contract
    joining.check_version(study, code_version=version("muster"))
    joining.check_dataset(engine, study)
    context = Context(
        engine=engine,
        study=study,
        dataset=datasets.fetch(engine, contract.dataset_fingerprint, cache=settings.cache_dir),
        folds=np.asarray(contract.folds, dtype=np.int64),
        space=parse_space(contract.space, place=f"search space of study {study.name}"),
        mirror=Mirror(engine, study),
        machine=machine,
        settings=settings,
    )
    # Whoever cannot run the study's trials has been refused by now, without a trace.
    worker = workers.register(engine, study, host=machine.host, device=machine.description)
    log.info(
        "joined study %s as worker %s on %s (%s)",
        study.name,
        worker.ordinal,
        machine.host,
        machine.description,
    )
    failures = 0
    try:
        while not stop.is_set():
            claim = _next(context, worker, stop)
            if claim is None:
                return
            outcome = run_trial(context, claim, stop=stop)
            ended.counts[outcome] += 1
            log.info("trial %s of study %s: %s", claim.number, study.name, outcome)
            failures = failures + 1 if outcome == "failed" else 0
            if failures == FAILURES_IN_A_ROW:
                ended.gave_up = (
                    f"{failures} trials in a row failed on this worker; it stops. The tracebacks "
                    f"are on the trials: `muster status {study.name}`"
                )
                return
    finally:
        _leave(engine, worker)


def _leave(engine: Engine, worker: workers.Worker) -> None:
    """Sign off; a database that is away has its own message by then."""
    try:
        workers.leave(engine, worker)
    except Unavailable as error:
        log.warning("worker %s could not sign off: %s", worker.ordinal, error)


def _next(context: Context, worker: workers.Worker, stop: Event) -> Claim | None:
    """Wait for a trial to run; None once all are told, the study is stopped or stop is set."""
    wait_seconds = 0.0
    while not stop.wait(wait_seconds):
        try:
            found = _claim(context, worker)
        except DiskFull:
            raise
        except Unavailable as error:
            log.warning("database away, trying again: %s", error)
            wait_seconds = IDLE_SECONDS
            continue
        if isinstance(found, Claim):
            return found
        if found.is_finished or found.is_stopped:
            return None
        wait_seconds = IDLE_SECONDS
    return None


def _claim(context: Context, worker: workers.Worker) -> Claim | StudyProgress:
    context.mirror.refresh()
    return claims.claim(
        context.engine,
        context.study,
        worker_id=worker.worker_id,
        lease_seconds=context.settings.lease_seconds,
        propose=lambda: context.mirror.propose(
            context.space.suggest, worker_ordinal=worker.ordinal
        ),
    )
