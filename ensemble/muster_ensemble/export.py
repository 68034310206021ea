"""From the database to an ensemble: the one module here that reads it."""

from __future__ import annotations

import io
import json
import logging
from collections import defaultdict
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.trial import FixedTrial, FrozenTrial, TrialState
from sqlalchemy import Connection, Engine, select

from muster.errors import UserError
from muster.fold_model import FoldModel
from muster.space import parse_space
from muster_db import blobs
from muster_db.engine import transact
from muster_db.mirror import Mirror
from muster_db.study import Study
from muster_db.tables import optuna_attributes, trial_blobs, trials
from muster_ensemble.bundle import Bundle, Member
from muster_ensemble.figures import TrialPoint
from muster_ensemble.select import Candidate

log = logging.getLogger(__name__)


def load_trials(engine: Engine, study: Study) -> list[FrozenTrial]:
    """All trials of the study by number. Raises Unavailable."""
    mirror = Mirror(engine, study)
    mirror.refresh()
    return mirror.trials


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
    engine: Engine, study: Study, *, trials: Sequence[FrozenTrial] | None = None
) -> list[Candidate]:
    """The completed trials with their predictions and curves; one without them is left out.

    trials: what load_trials gave, to spare a second look. The configurations' seeds stand in the
    fold models alone.
    """
    names, attributes = _blob_names(engine, study), _attributes(engine, study)
    space = parse_space(study.contract.space, place=f"study {study.name}")
    found = []
    for trial in load_trials(engine, study) if trials is None else trials:
        known = names.get(trial.number, {})
        if trial.state != TrialState.COMPLETE or trial.value is None:
            continue
        if not {"oof", "test", "curves"} <= known.keys():
            log.warning("study %s: trial %s has no predictions", study.name, trial.number)
            continue
        noted = attributes.get(trial.number, {})
        found.append(
            Candidate(
                number=trial.number,
                value=trial.value,
                config=space.suggest(FixedTrial(trial.params)),
                oof=_array(blobs.get(engine, known["oof"])),
                test=_array(blobs.get(engine, known["test"])),
                params=trial.params,
                curves=json.loads(blobs.get(engine, known["curves"])),
                fold_scores=tuple(noted.get("fold_scores", ())),
                weights=_weights(known, study),
                seconds=float(noted.get("seconds", 0.0)),
            )
        )
    return found


def make_bundle(
    engine: Engine, study: Study, members: Sequence[Candidate], *, rule: str
) -> Bundle:
    """The chosen trials with the weights of all their folds, ready to be written."""
    return Bundle(
        schema=study.contract.dataset_schema,
        members=tuple(_load_member(engine, member) for member in members),
        rule=rule,
        metric=study.contract.metric,
        contract_hash=study.contract.hash,
        muster_version=version("muster"),
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


def _weights(known: dict[str, str], study: Study) -> dict[str, str]:
    """The fold models' blobs, or nothing unless every fold is there."""
    wanted = [f"fold{fold}" for fold in range(max(study.contract.folds) + 1)]
    return {name: known[name] for name in wanted} if set(wanted) <= known.keys() else {}


def _blob_names(engine: Engine, study: Study) -> dict[int, dict[str, str]]:
    def verb(connection: Connection) -> dict[int, dict[str, str]]:
        rows = connection.execute(
            select(trials.c.number, trial_blobs.c.name, trial_blobs.c.sha)
            .join_from(trials, trial_blobs, trials.c.trial_id == trial_blobs.c.trial_id)
            .where(trials.c.study_id == study.study_id)
        )
        names: defaultdict[int, dict[str, str]] = defaultdict(dict)
        for number, name, sha in rows:
            names[number][name] = sha
        return dict(names)

    return transact(engine, verb, read_only=True)


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
