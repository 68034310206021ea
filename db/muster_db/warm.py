"""A warm start: what was best in an earlier study, as far as it fits a new one's space."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.storages._rdb.models import TrialValueModel
from optuna.trial import TrialState
from sqlalchemy import Connection, Engine, select

from muster.errors import UserError
from muster_db import records
from muster_db.engine import transact
from muster_db.study import Study, list_studies, open_study
from muster_db.tables import optuna_trials, optuna_values
from muster_db.walk import Suggest, Walk

log = logging.getLogger(__name__)

BEST = 10


def warm_start(
    engine: Engine, wanted: str, *, suggest: Suggest, known: Sequence[Mapping[str, Any]] = ()
) -> tuple[dict[str, Any], ...]:
    """The best configurations of the study that wanted names, as NAME or NAME:N (10 else).

    suggest: the new space. Parameters that it does not have, and values that are not in its
    ranges, are left out and named in one log line; the sampler draws them. known: what is tried
    first anyway. Raises UserError for an unknown study, and for one without a complete trial.
    """
    study, count = _study(engine, wanted)
    best = transact(engine, lambda connection: _best(connection, study, count), read_only=True)
    if not best:
        raise UserError(f"--warm-start {wanted}: study {study.name!r} has no complete trial yet")
    parameters = Walk(suggest).parameters
    left_out: Counter[str] = Counter()
    found: list[dict[str, Any]] = []
    for params in best:
        fitting = {name: each for name, each in params.items() if _fits(name, each, parameters)}
        left_out.update(params.keys() - fitting.keys())
        if fitting and fitting not in [*found, *known]:
            found.append(fitting)
    if left_out:
        parts = ", ".join(f"{name} ({times})" for name, times in sorted(left_out.items()))
        log.warning("warm start from %s: does not fit the space, so drawn: %s", study.name, parts)
    return tuple(found)


def _study(engine: Engine, wanted: str) -> tuple[Study, int]:
    """The study and how many; a name may end in a colon and a number itself."""
    match = re.fullmatch(r"(.+):(\d+)", wanted)
    if match is None or list_studies(engine, wanted):
        return open_study(engine, wanted), BEST
    if int(match[2]) < 1:
        raise UserError(f"--warm-start {wanted}: ask for 1 configuration or more")
    return open_study(engine, match[1]), int(match[2])


def _best(connection: Connection, study: Study, count: int) -> list[dict[str, Any]]:
    value = optuna_values.c.value
    rows = connection.execute(
        select(optuna_trials.c.trial_id)
        .join_from(
            optuna_values, optuna_trials, optuna_values.c.trial_id == optuna_trials.c.trial_id
        )
        .where(
            optuna_trials.c.study_id == study.study_id,
            optuna_trials.c.state == TrialState.COMPLETE,
            optuna_values.c.value_type == TrialValueModel.TrialValueType.FINITE,
        )
        .order_by(
            value.desc() if study.contract.direction == "maximize" else value,
            optuna_trials.c.number,
        )
        .limit(count)
    )
    trial_ids = [row.trial_id for row in rows]
    params = records.read_params(connection, trial_ids)
    return [params[trial_id][0] for trial_id in trial_ids]


def _fits(name: str, value: Any, parameters: Mapping[str, BaseDistribution]) -> bool:
    distribution = parameters.get(name)
    if isinstance(distribution, CategoricalDistribution):
        # 1 and True are equal, but not the same choice.
        return (type(value), value) in {(type(each), each) for each in distribution.choices}
    if distribution is None or isinstance(value, bool | str):
        return False
    return distribution._contains(distribution.to_internal_repr(value))
