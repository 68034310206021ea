"""A study that looks as if many trials had been told, written in bulk."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

import numpy as np
from benchmarks.coordination.task import CHOICE, FLOATS, REPORTS, value_of
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    distribution_to_json,
)
from optuna.storages._rdb.models import TrialIntermediateValueModel, TrialValueModel
from optuna.trial import TrialState
from sqlalchemy import Engine, func, insert, select, update

from muster_db import digest, leases, tables
from muster_db.records import Proposal
from muster_db.study import Study

BATCH = 1_000
DISTRIBUTIONS: dict[str, BaseDistribution] = {
    **{name: FloatDistribution(*bounds) for name, bounds in FLOATS.items()},
    CHOICE[0]: CategoricalDistribution(CHOICE[1]),
}
REPORT_KIND = TrialIntermediateValueModel.TrialIntermediateValueType.FINITE
VALUE_KIND = TrialValueModel.TrialValueType.FINITE
DAY = datetime(2026, 1, 1)


def fill(engine: Engine, study: Study, *, trials: int, reports: int = REPORTS) -> None:
    """Add so many complete trials of so many reports each to a study that has none."""
    rng = np.random.default_rng(0)
    with engine.begin() as connection:
        first = 1 + (
            connection.execute(select(func.max(tables.optuna_trials.c.trial_id))).scalar() or 0
        )
    for start in range(0, trials, BATCH):
        numbers = range(start, min(start + BATCH, trials))
        rows: dict[Any, list[dict[str, Any]]] = {table: [] for table in _TABLES}
        for number in numbers:
            _add(rows, study, first + number, number, rng, reports=reports)
        with engine.begin() as connection:
            for table, each in rows.items():
                connection.execute(insert(table), each)
    with engine.begin() as connection:
        connection.execute(
            update(tables.studies)
            .where(tables.studies.c.study_id == study.study_id)
            .values(claimed=trials, told=trials, revision=trials)
        )


_TABLES = (
    tables.optuna_trials,
    tables.optuna_params,
    tables.optuna_values,
    tables.optuna_reports,
    tables.trials,
)


def _add(
    rows: dict[Any, list[dict[str, Any]]],
    study: Study,
    trial_id: int,
    number: int,
    rng: np.random.Generator,
    *,
    reports: int,
) -> None:
    params: dict[str, Any] = {
        name: float(rng.uniform(low, high)) for name, (low, high) in FLOATS.items()
    }
    params[CHOICE[0]] = CHOICE[1][int(rng.integers(len(CHOICE[1])))]
    rows[tables.optuna_trials].append(
        {
            "trial_id": trial_id,
            "study_id": study.study_id,
            "number": number,
            "state": TrialState.COMPLETE,
            "datetime_start": DAY,
            "datetime_complete": DAY,
        }
    )
    rows[tables.optuna_params] += [
        {
            "trial_id": trial_id,
            "param_name": name,
            "param_value": each.to_internal_repr(params[name]),
            "distribution_json": distribution_to_json(each),
        }
        for name, each in DISTRIBUTIONS.items()
    ]
    rows[tables.optuna_values].append(
        {
            "trial_id": trial_id,
            "objective": 0,
            "value": value_of(params),
            "value_type": VALUE_KIND,
        }
    )
    rows[tables.optuna_reports] += [
        {
            "trial_id": trial_id,
            "step": step,
            "intermediate_value": 0.5,
            "intermediate_value_type": REPORT_KIND,
        }
        for step in range(reports)
    ]
    rows[tables.trials].append(
        {
            "trial_id": trial_id,
            "study_id": study.study_id,
            "number": number,
            "state": leases.TOLD,
            "token": uuid.uuid4().hex,
            "attempt": 1,
            "failures": 0,
            "expires_at": DAY,
            "revision": number + 1,
            "params_hash": Proposal(params, DISTRIBUTIONS).hash,
            "params": digest.of_params(params, DISTRIBUTIONS),
            "outcome": digest.of_outcome(
                TrialState.COMPLETE, value_of(params), dict.fromkeys(range(reports), 0.5)
            ),
        }
    )
