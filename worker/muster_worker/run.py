"""One trial: train, report, prune, save, tell."""

from __future__ import annotations

import io
import json
import logging
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from threading import Event
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from optuna.trial import FixedTrial, TrialState
from sqlalchemy import Engine

from muster.config import TrialConfig
from muster.data.dataset import Dataset
from muster.errors import (
    DiskFull,
    LeaseLost,
    NonFiniteLoss,
    Unavailable,
    UserError,
)
from muster.evaluation import EpochReport, Evaluation, TrialResult
from muster.settings import Settings
from muster.space import Space
from muster.voting import halve
from muster_db import blobs, trials
from muster_db.claims import Claim
from muster_db.mirror import Mirror
from muster_db.study import Study, progress
from muster_worker.heartbeat import CHECKPOINT, PARTING_SECONDS, PREVIOUS, Heartbeat
from muster_worker.machine import Machine, versions

log = logging.getLogger(__name__)

Outcome = Literal["complete", "pruned", "failed", "released", "lost"]
T = TypeVar("T")


@dataclass(frozen=True)
class Context:
    """What all trials of one worker on one study share."""

    engine: Engine
    study: Study
    dataset: Dataset
    folds: NDArray[np.int64]
    space: Space
    mirror: Mirror
    machine: Machine
    settings: Settings


def run_trial(context: Context, claim: Claim, *, stop: Event) -> Outcome:
    """Run one attempt and say how it ended; the trial is told, released or another's by then."""
    try:
        return _guarded(context, claim, stop)
    except LeaseLost:
        log.warning("trial %s: another worker holds it by now; attempt dropped", claim.number)
        return "lost"


def _guarded(context: Context, claim: Claim, stop: Event) -> Outcome:
    """The trial boundary: what goes wrong in training is told of the trial, not raised."""
    try:
        return _attempt(context, claim, stop)
    except (LeaseLost, Unavailable):
        raise
    except Exception:
        # Whatever a configuration breaks is recorded on its trial.
        text = traceback.format_exc()
        log.warning("trial %s failed: %s", claim.number, text.strip().splitlines()[-1])
        _persist(lambda: trials.fail_attempt(context.engine, claim, text), stop)
        return "failed"


def _attempt(context: Context, claim: Claim, stop: Event) -> Outcome:
    started = time.monotonic()
    evaluation, stored = _begin(context, claim, stop)
    drain = Event()

    def refresh() -> None:
        context.mirror.refresh()
        if progress(context.engine, context.study).is_stopped:
            drain.set()

    heartbeat = Heartbeat(
        context.engine,
        claim,
        interval_seconds=context.settings.heartbeat_seconds,
        refresh=refresh,
        stored=stored,
    )
    reason = None
    with heartbeat:
        try:
            ended = _train(
                context, claim, evaluation, heartbeat, lambda: stop.is_set() or drain.is_set()
            )
            if ended == "complete":
                # Predicting and storing may outlast a lease: the heartbeat goes on meanwhile.
                result = evaluation.result()
                names = _persist(lambda: _store(context.engine, result), stop)
        except NonFiniteLoss as error:
            ended, reason = "pruned", str(error)
    attributes = {
        "seconds": round(time.monotonic() - started, 3),
        "device": context.machine.description,
        "versions": versions(),
        "attempt": claim.attempt,
    }
    if reason is not None:
        attributes["pruned_because"] = reason
    if evaluation.micro_batch is not None:
        attributes["micro_batch"] = evaluation.micro_batch
    if ended == "released":
        if stop.is_set():
            context.engine.update_execution_options(muster_patience=PARTING_SECONDS)
        heartbeat.save(evaluation.checkpoint())
        heartbeat.flush()
        trials.release(context.engine, claim)
        return ended
    _persist(heartbeat.flush, stop)
    if ended == "pruned":
        _persist(lambda: _tell(context, claim, TrialState.PRUNED, attributes=attributes), stop)
        return ended
    attributes |= {"fold_scores": list(result.fold_scores)}
    _persist(
        lambda: _tell(
            context,
            claim,
            TrialState.COMPLETE,
            value=result.value,
            attributes=attributes,
            names=names,
        ),
        stop,
    )
    _tidy(context)
    return "complete"


def trial_config(space: Space, study: Study, claim: Claim) -> TrialConfig:
    """The configuration of a claimed trial; its seed follows from the study's and its number."""
    seed = int(np.random.SeedSequence([study.contract.seed, claim.number]).generate_state(1)[0])
    return space.suggest(FixedTrial(claim.params)).model_copy(update={"seed": seed})


def _begin(context: Context, claim: Claim, stop: Event) -> tuple[Evaluation, str | None]:
    """The trial from its newest checkpoint that is whole, and that one's SHA-256.

    From its start where there is none.
    """
    start = partial(
        Evaluation,
        context.dataset,
        context.folds,
        trial_config(context.space, context.study, claim),
        metric=context.study.contract.metric,
        device=context.machine.device,
    )
    names = _persist(lambda: trials.blob_names(context.engine, claim.trial_id), stop)
    for digest in (names.get(CHECKPOINT), names.get(PREVIOUS)):
        if digest is None:
            continue
        try:
            checkpoint = _persist(partial(blobs.get, context.engine, digest), stop)
            return start(resume=checkpoint), digest
        except UserError as error:
            log.warning("trial %s: a checkpoint is passed over: %s", claim.number, error)
    return start(), None


def _train(
    context: Context,
    claim: Claim,
    evaluation: Evaluation,
    heartbeat: Heartbeat,
    is_leaving: Callable[[], bool],
) -> Outcome:
    saved_at = time.monotonic()
    saving_seconds = context.settings.checkpoint_seconds
    last_fold = int(context.folds.max())
    for report in evaluation.epochs():
        for step, value in steps(report, context.study.contract.steps_per_fold):
            heartbeat.report(step, value)
        if heartbeat.is_lost.is_set():
            raise LeaseLost(f"trial {claim.number}")
        is_done = report.fold_ended and report.fold == last_fold
        if not is_done and is_leaving():
            return "released"
        if not is_done and context.mirror.is_hopeless(claim.number, report):
            return "pruned"
        if report.fold_ended or time.monotonic() - saved_at >= saving_seconds:
            heartbeat.save(evaluation.checkpoint())
            saved_at = time.monotonic()
    return "complete"


def steps(report: EpochReport, steps_per_fold: int) -> list[tuple[int, float]]:
    """Optuna's intermediate steps of a report: the epoch's, and at a fold's end its mean's."""
    first = report.fold * steps_per_fold
    found = [(first + report.epoch, report.score)]
    if report.fold_ended:
        found.append((first + steps_per_fold - 1, float(np.mean(report.fold_scores))))
    return found


def _store(engine: Engine, result: TrialResult) -> dict[str, str]:
    """Put a result's arrays, curves and weights into the blob store: name to SHA-256."""
    parts = {
        # Half precision is enough to choose and estimate by; a bundle predicts by its weights.
        "oof": _npy(halve(result.probabilities)),
        "test": _npy(result.test_probabilities),
        "curves": json.dumps(result.curves).encode(),
    }
    parts |= {f"fold{fold}": data for fold, data in enumerate(result.fold_models)}
    return {name: blobs.put(engine, data) for name, data in parts.items()}


def _tidy(context: Context) -> None:
    """Drop the weights of trials that fell behind; the next told trial does what fails here."""
    try:
        blobs.keep_best_weights(context.engine, context.study, keep=context.settings.keep_weights)
    except Unavailable as error:
        log.warning("weights of lesser trials are kept for now: %s", error)


def _npy(array: NDArray[np.floating[Any]]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _tell(
    context: Context,
    claim: Claim,
    state: TrialState,
    *,
    attributes: Mapping[str, Any],
    value: float | None = None,
    names: Mapping[str, str] | None = None,
) -> None:
    trials.tell(
        context.engine, claim, state=state, value=value, attributes=attributes, blobs=names or {}
    )


def _persist(verb: Callable[[], T], stop: Event) -> T:
    """Repeat what must not be lost until the database takes it.

    A stop ends the patience, and so does a full disk, which a wait does not mend.
    """
    wait_seconds = 1.0
    while True:
        try:
            return verb()
        except DiskFull:
            raise
        except Unavailable as error:
            if stop.wait(wait_seconds):
                raise
            log.warning("database away, keeping the result: %s", error)
            wait_seconds = min(wait_seconds * 2, 30.0)
