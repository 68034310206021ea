"""A search with a trial of each kind, and how a backup of it is looked at."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import optuna
from optuna.trial import TrialState
from sqlalchemy import Engine, func, select

from muster_db import blobs, datasets, trials
from muster_db.artifacts import DatabaseArtifactStore
from muster_db.backup_file import CARRIED
from muster_db.claims import Claim
from muster_db.study import create_study
from muster_db.tables import chunks
from muster_db.workers import register
from samples import make_contract, make_dataset, proposer, take

NAME = "Größe ☂"
HARD_VALUES = (0.1 + 0.2, 5e-324, 1.7976931348623157e308, -0.0, 1 / 3, float("inf"))


def tell(engine: Engine, claim: Claim, value: float | None = 0.5, **changes: Any) -> None:
    """Tell a trial COMPLETE, or what changes say."""
    facts: dict[str, Any] = {"state": TrialState.COMPLETE, "attributes": {}, "blobs": {}}
    trials.tell(engine, claim, value=value, **(facts | changes))


def fill(engine: Engine) -> Claim:
    """A study with trials of each kind, a dataset, an artifact; the claim of trial 8, held."""
    fingerprint = datasets.store(engine, make_dataset())
    contract = make_contract(dataset_fingerprint=fingerprint)
    study = create_study(engine, name=NAME, contract=contract, budget=12)
    worker = register(engine, study, host="host", device="cpu")
    propose = proposer(1)

    def claim() -> Claim:
        return take(engine, study, worker_id=worker.worker_id, propose=propose)

    for value in HARD_VALUES:
        claimed = claim()
        trials.report(engine, claimed, [(0, value), (1, float("nan"))])
        oof = blobs.put(engine, np.random.default_rng(1).bytes(blobs.CHUNK_BYTES + 3))
        facts = {"note": "ü\n\u2028", "value": value if value < 1e300 else None}
        tell(engine, claimed, value, attributes=facts, blobs={"oof": oof})
    tell(engine, claim(), None, state=TrialState.PRUNED)
    trials.fail_attempt(engine, failed := claim(), "Traceback: ü")
    assert take(engine, study, worker_id=worker.worker_id + 1).number == failed.number
    held = claim()
    trials.attach(engine, held, {"checkpoint": blobs.put(engine, b"checkpoint")})
    trials.release(engine, claim())
    blobs.put(engine, b"")
    load(engine).set_user_attr("team", ["a", 1.5])
    DatabaseArtifactStore(engine).write("figure", io.BytesIO(b"figure"))
    return held


def load(engine: Engine, name: str = NAME) -> optuna.Study:
    """The study as Optuna loads it."""
    url = engine.url.render_as_string(hide_password=False)
    return optuna.load_study(study_name=name, storage=url)


def seen(engine: Engine) -> list[tuple[object, ...]]:
    """Every trial as Optuna shows it, floats by repr; what ran waits."""
    running = {TrialState.RUNNING: TrialState.WAITING}
    return [
        (
            t.number,
            running.get(t.state, t.state),
            repr(t.values),
            repr(t.params),
            repr(t.distributions),
            repr(t.intermediate_values),
            repr(t.user_attrs),
            t.datetime_start,
            t.datetime_complete,
        )
        for t in load(engine).trials
    ]


def rows(engine: Engine) -> int:
    """How many rows the database holds of what a backup carries."""
    with engine.connect() as connection:
        return sum(
            connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in (*CARRIED, chunks)
        )
