"""A search in full swing, for what shows it: trials of each kind, workers, a vote."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass

import numpy as np
from optuna.trial import TrialState
from sqlalchemy import Engine

from muster_db import blobs, datasets, ensembles, trials
from muster_db.claims import Claim
from muster_db.ensembles import EnsembleMember, Snapshot
from muster_db.study import Study, create_study
from muster_db.workers import Worker, leave, register
from samples import make_contract, make_dataset, proposer, take

NAME = "Größe ☂ <b>"
EPOCHS = 10
DAY_SECONDS = 86_400.0


@dataclass(frozen=True)
class Show:
    """held: the trial that runs. ended: by how it ended, one claim each."""

    study: Study
    worker: Worker
    held: Claim
    ended: dict[str, Claim]


def make_show(engine: Engine, *, name: str = NAME, completed: int = 6, budget: int = 20) -> Show:
    """The first trials are completed, then one each is pruned, failed, given back and running."""
    fingerprint = datasets.store(engine, make_dataset())
    contract = make_contract(dataset_fingerprint=fingerprint)
    study = create_study(engine, name=name, contract=contract, budget=budget)
    gone = register(engine, study, host="laptop", device="CPU, 2 threads")
    leave(engine, gone)
    worker = register(engine, study, host="gpu-box", device="NVIDIA H200, 139 GiB")
    propose = proposer(1)
    rng = np.random.default_rng(0)

    def claim() -> Claim:
        # Longer than any test: nobody extends it.
        return take(
            engine, study, worker_id=worker.worker_id, propose=propose, lease_seconds=DAY_SECONDS
        )

    ended: dict[str, Claim] = {}
    for number in range(completed):
        ended["complete"] = each = claim()
        value = 0.6 + 0.05 * number
        tell_complete(engine, each, value, rng)
    ended["pruned"] = each = claim()
    facts = {"pruned_because": "the loss is NaN"}
    pruned = {"state": TrialState.PRUNED, "value": None, "attributes": facts, "blobs": {}}
    trials.tell(engine, each, reports=[(0, 0.3), (1, float("nan"))], **pruned)
    ended["failed"] = each = claim()
    trials.tell(
        engine, each, state=TrialState.FAIL, value=None, attributes={"error": "boom"}, blobs={}
    )
    waits = claim()
    ended["released"] = waits
    held = claim()
    trials.report(engine, held, [(0, 0.41), (1, 0.52), (2, 0.58)])
    trials.release(engine, waits)
    ensembles.record(
        engine, study, snapshot(completed), revision=ensembles.revision(engine, study)
    )
    return Show(study, worker, held, ended)


def tell_complete(engine: Engine, each: Claim, value: float, rng: np.random.Generator) -> None:
    """A completed trial of two folds with its curves and out-of-fold predictions."""
    curve = [
        {
            "fold": fold,
            "epoch": epoch,
            "train_loss": 1.0 / (epoch + 1),
            "score": value - 0.3 / (epoch + 1),
            "seconds": 0.5,
            "fold_ended": epoch == EPOCHS - 1,
            "fold_scores": [],
        }
        for fold in range(2)
        for epoch in range(EPOCHS)
    ]
    oof = io.BytesIO()
    np.save(oof, rng.dirichlet((1.0, 1.0), size=6).astype(np.float16), allow_pickle=False)
    names = {
        "curves": blobs.put(engine, json.dumps(curve).encode()),
        "oof": blobs.put(engine, oof.getvalue()),
    }
    reports = [(line["fold"] * (EPOCHS + 1) + line["epoch"], line["score"]) for line in curve]
    facts = {"seconds": 10.0, "device": "NVIDIA H200", "fold_scores": [value, value]}
    trials.tell(
        engine,
        each,
        state=TrialState.COMPLETE,
        value=value,
        attributes=facts,
        blobs=names,
        reports=reports,
    )


def snapshot(completed: int) -> Snapshot:
    """A vote of two members."""
    return Snapshot(
        trials=completed,
        rule="greedy",
        asked="auto",
        metric="macro_f1",
        members=(
            EnsembleMember(number=completed - 1, architecture="gru", weight=0.75),
            EnsembleMember(number=0, architecture="gru", weight=0.25),
        ),
        nested=0.81,
        low=0.74,
        high=0.87,
        naive=0.86,
        single=completed - 1,
        single_nested=0.78,
        single_naive=0.85,
        p_value=0.04,
    )
