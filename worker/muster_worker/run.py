"""One trial: train, report, prune, save; the courier tells how it ended."""

from __future__ import annotations

import io
import json
import logging
import math
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from threading import Event
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.trial import FixedTrial

from muster.config import TrialConfig
from muster.data.dataset import Dataset
from muster.errors import DamagedCheckpoint, Interrupted, LeaseLost, NonFiniteLoss
from muster.evaluation import EpochReport, Evaluation, TrialResult
from muster.inference import is_out_of_memory
from muster.settings import Settings
from muster.space import Space
from muster.voting import halve
from muster_db.blobs import DamagedBlob
from muster_db.claims import Claim
from muster_db.contract import Refit
from muster_db.mirror import Mirror
from muster_db.names import FOLD
from muster_db.study import Study
from muster_worker.machine import Machine, versions
from muster_worker.meter import Meter
from muster_worker.outbox import Ending, Outbox
from muster_worker.readings import Reporter

log = logging.getLogger(__name__)

# Each fetches the bytes of a checkpoint when it is its turn, the newest first.
Checkpoints = Iterable[Callable[[], bytes]]
# Of the 10 s that docker stop grants, those in which a running epoch may come to its end.
GRACE_SECONDS = 3.0


@dataclass(frozen=True)
class Context:
    """What all trials of one worker on one study share."""

    study: Study
    dataset: Dataset
    folds: NDArray[np.int64]
    space: Space
    mirror: Mirror
    machine: Machine
    settings: Settings
    meter: Meter = field(default_factory=Meter)

    def evaluate(self, claim: Claim, resume: bytes | None) -> Evaluation:
        """The evaluation of a claimed trial, from its start or from a checkpoint.

        Raises DamagedCheckpoint for one that cannot be gone on from.
        """
        return Evaluation(
            self.dataset,
            self.folds,
            trial_config(self.space, self.study, claim),
            metric=self.study.contract.metric,
            device=self.machine.device,
            resume=resume,
            refit=None if (job := self.refit_of(claim)) is None else job.epochs,
        )

    def refit_of(self, claim: Claim) -> Refit | None:
        """What the trial refits, in a study that trains trials of another one again."""
        refits = self.study.contract.refits
        return refits[claim.number] if refits else None


def run_trial(
    context: Context,
    outbox: Outbox,
    *,
    checkpoints: Checkpoints,
    stop: Event,
    reporter: Reporter | None = None,
) -> Ending:
    """Run one attempt; how it ended is for the courier to tell.

    checkpoints: where to go on, the newest first. reporter: tells the supervisor of a slot.
    Whatever goes wrong in training is told of the trial, not raised.
    """
    claim = outbox.claim
    started = time.monotonic()
    leaving = _Leaving(stop, outbox)
    try:
        evaluation = _begin(context, claim, checkpoints)
        ending = _train(context, evaluation, outbox, leaving, reporter)
    except LeaseLost:
        return Ending("lost")
    except Exception as error:
        # The trial boundary: whatever a configuration breaks is recorded on its trial.
        text = traceback.format_exc()
        log.warning("trial %s failed: %s", claim.number, text.strip().splitlines()[-1])
        if reporter is not None and is_out_of_memory(error):
            reporter.ran_out(claim.number)
        return Ending("failed", error=text)
    attributes: dict[str, Any] = {
        "seconds": round(time.monotonic() - started, 3),
        "device": context.machine.description,
        "versions": versions(),
        "attempt": claim.attempt,
    }
    if evaluation.micro_batch is not None:
        attributes["micro_batch"] = evaluation.micro_batch
    return replace(ending, attributes={**attributes, **ending.attributes})


def trial_config(space: Space, study: Study, claim: Claim) -> TrialConfig:
    """The configuration of a claimed trial; its seed follows from the study's and its number.

    A refit has that of the trial that it trains again.
    """
    contract = study.contract
    number = contract.refits[claim.number].trial if contract.refits else claim.number
    seed = int(np.random.SeedSequence([contract.seed, number]).generate_state(1)[0])
    return space.suggest(FixedTrial(claim.params)).model_copy(update={"seed": seed})


class _Leaving:
    """Whether the attempt is to end before its trial does, and whether that cannot wait."""

    def __init__(self, stop: Event, outbox: Outbox) -> None:
        self._stop = stop
        self._outbox = outbox
        self._asked_at: float | None = None

    def at_epoch(self) -> bool:
        return self._stop.is_set() or self._outbox.is_draining.is_set()

    def at_batch(self) -> bool:
        if self._outbox.is_lost.is_set():
            return True
        if not self._stop.is_set():
            return False
        if self._asked_at is None:
            self._asked_at = time.monotonic()
        return time.monotonic() - self._asked_at >= GRACE_SECONDS


def _begin(context: Context, claim: Claim, checkpoints: Checkpoints) -> Evaluation:
    """The trial from its newest checkpoint that can be gone on from, else from its start."""
    for checkpoint in checkpoints:
        try:
            return context.evaluate(claim, checkpoint())
        except (DamagedBlob, DamagedCheckpoint) as error:
            log.warning("trial %s: a checkpoint is passed over: %s", claim.number, error)
    return context.evaluate(claim, None)


def _train(
    context: Context,
    evaluation: Evaluation,
    outbox: Outbox,
    leaving: _Leaving,
    reporter: Reporter | None,
) -> Ending:
    try:
        if not _finishes(context, evaluation, outbox, leaving, reporter):
            return Ending("pruned")
        result = evaluation.result(should_stop=leaving.at_batch)
    except NonFiniteLoss as error:
        return Ending("pruned", attributes={"pruned_because": str(error)})
    except Interrupted:
        if outbox.is_lost.is_set():
            raise LeaseLost(f"trial {outbox.claim.number}") from None
        return Ending("released", checkpoint=evaluation.checkpoint())
    if (job := context.refit_of(outbox.claim)) is not None:
        # Nothing was held out to score it by: it stands for the trial that it trains again.
        facts = {"refit_of": job.trial, "epochs": job.epochs}
        return Ending("complete", value=job.value, attributes=facts, parts=_parts(result))
    return Ending(
        "complete",
        value=result.value,
        attributes={"fold_scores": list(result.fold_scores)},
        parts=_parts(result),
    )


def _finishes(
    context: Context,
    evaluation: Evaluation,
    outbox: Outbox,
    leaving: _Leaving,
    reporter: Reporter | None,
) -> bool:
    """Train to the end, or until the trial is hopeless. Raises Interrupted where it has to go."""
    saved_at = time.monotonic()
    last_fold = 0 if context.study.contract.refits else int(context.folds.max())
    for report in evaluation.epochs(should_stop=leaving.at_batch):
        for step, value in steps(report, context.study.contract.steps_per_fold):
            outbox.report(step, value)
        context.meter.epoch(report.seconds)
        if reporter is not None:
            reporter.epoch(outbox.claim.trial_id, report.seconds)
        if outbox.is_lost.is_set():
            raise LeaseLost(f"trial {outbox.claim.number}")
        if report.fold_ended and report.fold == last_fold:
            continue
        if leaving.at_epoch():
            raise Interrupted(f"trial {outbox.claim.number} is given back after an epoch")
        if context.mirror.is_hopeless(outbox.claim.number, report):
            return False
        is_due = time.monotonic() - saved_at >= context.settings.checkpoint_seconds
        if report.fold_ended or is_due:
            outbox.save(evaluation.checkpoint())
            saved_at = time.monotonic()
    return True


def steps(report: EpochReport, steps_per_fold: int) -> list[tuple[int, float]]:
    """Optuna's intermediate steps of a report: the epoch's, and at a fold's end its mean's.

    None where nothing was scored.
    """
    if math.isnan(report.score):
        return []
    first = report.fold * steps_per_fold
    found = [(first + report.epoch, report.score)]
    if report.fold_ended:
        found.append((first + steps_per_fold - 1, float(np.mean(report.fold_scores))))
    return found


def _parts(result: TrialResult) -> dict[str, bytes]:
    """A result's arrays, curves and weights, as the blob store keeps them."""
    parts = {
        # Half precision is enough to choose and estimate by; a bundle predicts by its weights.
        "oof": _npy(halve(result.probabilities)),
        "test": _npy(result.test_probabilities),
        "curves": json.dumps(result.curves).encode(),
    }
    return parts | {f"{FOLD}{fold}": data for fold, data in enumerate(result.fold_models)}


def _npy(array: NDArray[np.floating[Any]]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()
