"""The ensemble of a study at this moment, for everybody to see while its workers run."""

from __future__ import annotations

import contextlib
import logging
import math
from pathlib import Path

from optuna.trial import TrialState
from sqlalchemy import Engine

from muster_db import ensembles
from muster_db.ensembles import EnsembleMember, Snapshot
from muster_db.study import Study
from muster_ensemble.estimate import SINGLE, Outcome, best_single, decide_and_estimate
from muster_ensemble.ledger import Ledger, load_ledger, load_trials, load_truth

log = logging.getLogger(__name__)

# Choosing takes that many times the ledger's own size of memory, as `make bench-voting` shows.
COPIES = 4
# Of the memory that is free, what a machine that trains may lend.
SHARE = 0.5
BYTES = 2


def snapshot_of(ledger: Ledger, outcome: Outcome) -> Snapshot:
    """The outcome as it is kept for others."""
    asked, single = outcome.estimate, outcome.estimates[SINGLE]
    return Snapshot(
        trials=len(ledger),
        rule=outcome.rule,
        asked=outcome.asked,
        metric=ledger.metric,
        members=tuple(
            EnsembleMember(
                number=ledger.numbers[position],
                architecture=ledger.architectures[position],
                weight=weight,
            )
            for position, weight in zip(
                outcome.choice.members, outcome.choice.weights, strict=True
            )
        ),
        nested=asked.nested,
        low=asked.low,
        high=asked.high,
        naive=asked.naive,
        single=ledger.numbers[best_single(ledger)],
        single_nested=single.nested,
        single_naive=single.naive,
        p_value=asked.p_value,
    )


def look(engine: Engine, study: Study, *, rule: str, cache: Path) -> Snapshot | None:
    """Choose, estimate and record the ensemble of the trials told so far; a patience goes by it.

    None where there is none: no trial is completed yet, refits have nothing to choose by, or this
    machine has too little memory left for the ledger, which is logged. Raises UserError,
    Unavailable.
    """
    revision = ensembles.revision(engine, study)
    trials = [] if study.contract.refits else load_trials(engine, study)
    complete = sum(trial.state == TrialState.COMPLETE for trial in trials)
    if not complete:
        ensembles.pass_over(engine, study, revision=revision)
        return None
    needed = COPIES * BYTES * complete * len(study.contract.folds)
    needed *= len(study.contract.dataset_schema.classes)
    if needed > SHARE * free_bytes():
        log.warning(
            "study %s: no estimate of the ensemble here, which takes %.1f GB of memory; "
            "`muster ensemble %s` makes it on another machine",
            study.name,
            needed / 1e9,
            study.name,
        )
        return None
    truth = load_truth(engine, study, cache=cache)
    ledger = load_ledger(engine, study, truth, cache=cache, trials=trials)
    snapshot = snapshot_of(ledger, decide_and_estimate(ledger, rule=rule))
    ensembles.record(engine, study, snapshot, revision=revision, is_judged=True)
    log.info(
        "study %s: the ensemble of %d trials has a nested %s of %.4f (%.4f to %.4f)",
        study.name,
        snapshot.trials,
        snapshot.metric,
        snapshot.nested,
        snapshot.low,
        snapshot.high,
    )
    return snapshot


def free_bytes(meminfo: Path = Path("/proc/meminfo")) -> float:
    """Memory that this machine has left; no limit where it does not say."""
    with contextlib.suppress(OSError, ValueError):
        for line in meminfo.read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return float(line.split()[1]) * 1024
    return math.inf
