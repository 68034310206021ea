"""From the database to an ensemble: the chosen trials with all that a bundle and a report need."""

from __future__ import annotations

import io
import json
from collections import defaultdict
from collections.abc import Collection, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.trial import FixedTrial, FrozenTrial, TrialState
from sqlalchemy import Connection, Engine, select

from muster.errors import UserError
from muster.fold_model import FoldModel
from muster.selection import Choice
from muster.space import parse_space
from muster_db import blobs
from muster_db.engine import transact
from muster_db.study import Study
from muster_db.tables import optuna_attributes, trials
from muster_ensemble.bundle import Bundle, Member
from muster_ensemble.figures import TrialPoint
from muster_ensemble.ledger import blob_names, weights
from muster_ensemble.select import Candidate

# What predictions may depend on.
PACKAGES = ("numpy", "pandas", "safetensors", "torch")


def history(trials: Sequence[FrozenTrial]) -> list[TrialPoint]:
    """The same trials as the report shows them."""
    return [
        TrialPoint(
            number=trial.number,
            value=trial.value if trial.state == TrialState.COMPLETE else None,
            state=trial.state.name.lower(),
        )
        for trial in trials
    ]


def load_candidates(
    engine: Engine, study: Study, numbers: Collection[int], *, trials: Sequence[FrozenTrial]
) -> dict[int, Candidate]:
    """The completed trials of these numbers with their predictions and curves, by number.

    trials: what load_trials gave. The configurations' seeds stand in the fold models alone.
    Raises UserError for a trial whose predictions or curves are not there.
    """
    names, attributes = blob_names(engine, study), _attributes(engine, study)
    space = parse_space(study.contract.space, place=f"study {study.name}")
    found = {}
    for trial in trials:
        if trial.number not in numbers or trial.value is None:
            continue
        known, noted = names.get(trial.number, {}), attributes.get(trial.number, {})
        if not {"oof", "test", "curves"} <= known.keys():
            raise UserError(
                f"study {study.name}: trial {trial.number} lacks its predictions or curves; "
                "restore a backup, or run more trials"
            )
        found[trial.number] = Candidate(
            number=trial.number,
            value=trial.value,
            config=space.suggest(FixedTrial(trial.params)),
            oof=_array(blobs.get(engine, known["oof"])),
            test=_array(blobs.get(engine, known["test"])),
            params=trial.params,
            curves=json.loads(blobs.get(engine, known["curves"])),
            fold_scores=tuple(noted.get("fold_scores", ())),
            weights=weights(known, study),
            seconds=float(noted.get("seconds", 0.0)),
        )
    return found


def make_bundle(
    engine: Engine,
    study: Study,
    members: Sequence[Candidate],
    *,
    choice: Choice,
    figure: float | None = None,
) -> Bundle:
    """The chosen trials with the weights of all their folds, ready to be written.

    members: in the order of the choice's. figure: the choice's naive one.
    """
    return Bundle(
        schema=study.contract.dataset_schema,
        members=tuple(_load_member(engine, member) for member in members),
        rule=choice.rule,
        weights=choice.weights,
        temperatures=choice.temperatures,
        factors=choice.factors,
        metric=study.contract.metric,
        contract_hash=study.contract.hash,
        muster_version=version("muster"),
        contract=study.contract.canonical,
        figure=figure,
        versions={name: version(name) for name in PACKAGES},
    )


def _load_member(engine: Engine, candidate: Candidate) -> Member:
    shas = [candidate.weights[f"fold{fold}"] for fold in range(len(candidate.weights))]
    if not shas:
        raise UserError(
            f"trial {candidate.number}: its weights were collected; choose another trial, or "
            f"keep more weights"
        )
    folds = tuple(blobs.get(engine, sha) for sha in shas)
    return Member(candidate.number, FoldModel.from_bytes(folds[0]).config, folds)


def _attributes(engine: Engine, study: Study) -> dict[int, dict[str, Any]]:
    """What the workers noted of each trial, which a mirror does not read."""

    def verb(connection: Connection) -> dict[int, dict[str, Any]]:
        of_trial = optuna_attributes.c.trial_id == trials.c.trial_id
        rows = connection.execute(
            select(trials.c.number, optuna_attributes.c.key, optuna_attributes.c.value_json)
            .join_from(trials, optuna_attributes, of_trial)
            .where(
                trials.c.study_id == study.study_id,
                optuna_attributes.c.key.in_(("seconds", "fold_scores")),
            )
        )
        noted: defaultdict[int, dict[str, Any]] = defaultdict(dict)
        for number, key, text in rows:
            noted[number][key] = json.loads(text)
        return dict(noted)

    return transact(engine, verb, read_only=True)


def _array(data: bytes) -> NDArray[np.float32]:
    array: NDArray[Any] = np.load(io.BytesIO(data), allow_pickle=False)
    return array.astype(np.float32)
