"""Trials as Optuna keeps them: written straight into its tables, so that its tools see them."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    FloatDistribution,
    distribution_to_json,
)
from optuna.storages._rdb.models import TrialIntermediateValueModel, TrialValueModel
from optuna.trial import TrialState
from sqlalchemy import (
    ClauseElement,
    ColumnElement,
    Connection,
    CursorResult,
    String,
    Table,
    case,
    delete,
    func,
    insert,
    select,
    type_coerce,
    update,
)
from sqlalchemy.dialects import mysql, sqlite

from muster.errors import UserError
from muster_db.clock import whole_clock
from muster_db.distributions import Distribution, parse_distribution
from muster_db.tables import (
    optuna_attributes,
    optuna_params,
    optuna_reports,
    optuna_trials,
    optuna_values,
)

# MySQL's TEXT, which holds Optuna's attributes.
ATTRIBUTE_BYTES = 65_535
FINITE = TrialIntermediateValueModel.TrialIntermediateValueType.FINITE.name


@dataclass(frozen=True)
class Proposal:
    """A configuration to try. is_repeat: nothing new is left, so it may be one tried before.

    only_for: the trial's number that it is meant for; under another it must not be claimed.
    replaces: the parameters' names of the configuration in whose place it comes, where known.
    """

    params: dict[str, Any]
    distributions: dict[str, Distribution]
    is_repeat: bool = False
    only_for: int | None = None
    replaces: tuple[str, ...] = ()

    @property
    def may_recur(self) -> bool:
        """Whether another draw may be the same: no parameter is a continuous one."""
        return not any(
            isinstance(each, FloatDistribution) and each.step is None and each.low < each.high
            for each in self.distributions.values()
        )

    @property
    def hash(self) -> str:
        """SHA-256 of the parameters: equal for equal configurations."""
        return hashlib.sha256(json.dumps(self.params, sort_keys=True).encode()).hexdigest()


def insert_trial(
    connection: Connection, study_id: int, *, number: int, proposal: Proposal, is_begun: bool
) -> int:
    """Insert a trial with its parameters, RUNNING or WAITING to be begun; returns its id."""
    result = connection.execute(
        insert(optuna_trials).values(
            study_id=study_id,
            number=number,
            state=TrialState.RUNNING if is_begun else TrialState.WAITING,
            datetime_start=whole_clock() if is_begun else None,
        )
    )
    trial_id = inserted_id(result)
    _insert_params(connection, trial_id, proposal)
    return trial_id


def replace_params(connection: Connection, trial_id: int, proposal: Proposal) -> None:
    """Give a trial that has not begun another configuration; names that stay keep their rows."""
    ours = optuna_params.c.trial_id == trial_id
    known = select(optuna_params.c.param_name).where(ours)
    names = set(proposal.replaces) or set(connection.execute(known).scalars())
    kept = {
        name: each.to_internal_repr(proposal.params[name])
        for name, each in proposal.distributions.items()
        if name in names
    }
    if names - kept.keys():
        gone = optuna_params.c.param_name.in_(names - kept.keys())
        connection.execute(delete(optuna_params).where(ours, gone))
    if kept:
        # In place: a row put where one was just deleted locks what comes after it, the next
        # trial's rows, and whoever claims that one holds the study, which is needed here.
        number = case(kept, value=optuna_params.c.param_name)
        same = optuna_params.c.param_name.in_(kept)
        connection.execute(update(optuna_params).where(ours, same).values(param_value=number))
    _insert_params(connection, trial_id, proposal, but=names)


def _insert_params(
    connection: Connection, trial_id: int, proposal: Proposal, *, but: Container[str] = ()
) -> None:
    rows = [
        {
            "trial_id": trial_id,
            "param_name": name,
            "param_value": distribution.to_internal_repr(proposal.params[name]),
            "distribution_json": distribution_to_json(distribution),
        }
        for name, distribution in proposal.distributions.items()
        if name not in but
    ]
    if rows:
        connection.execute(insert(optuna_params), rows)


def read_params(
    connection: Connection, trial_ids: Sequence[int]
) -> dict[int, tuple[dict[str, Any], dict[str, BaseDistribution]]]:
    """Parameters and distributions of trials, in the order in which they were suggested."""
    return {
        trial_id: (
            {name: each.to_external_repr(value) for name, value, each in found},
            {name: each for name, _, each in found},
        )
        for trial_id, found in read_internal_params(connection, trial_ids).items()
    }


def read_internal_params(
    connection: Connection, trial_ids: Sequence[int]
) -> dict[int, list[tuple[str, float, BaseDistribution]]]:
    """The same as (name, Optuna's internal number, distribution) each."""
    rows = connection.execute(
        select(
            optuna_params.c.trial_id,
            optuna_params.c.param_name,
            optuna_params.c.param_value,
            optuna_params.c.distribution_json,
        )
        .where(optuna_params.c.trial_id.in_(trial_ids))
        .order_by(optuna_params.c.param_id)
    ).all()
    found: dict[int, list[tuple[str, float, BaseDistribution]]] = {
        trial_id: [] for trial_id in trial_ids
    }
    for trial_id, name, value, text in rows:
        found[trial_id].append((name, value, parse_distribution(text)))
    return found


def set_state(connection: Connection, trial_id: int, state: TrialState) -> None:
    """Set the state that Optuna shows."""
    connection.execute(
        update(optuna_trials).where(optuna_trials.c.trial_id == trial_id).values(state=state)
    )


def begin(connection: Connection, trial_id: int) -> None:
    """Set a trial that waits RUNNING; its time counts from now, or from its first attempt."""
    start = func.coalesce(optuna_trials.c.datetime_start, whole_clock())
    connection.execute(
        update(optuna_trials)
        .where(optuna_trials.c.trial_id == trial_id)
        .values(state=TrialState.RUNNING, datetime_start=start)
    )


def finish(
    connection: Connection,
    trial_id: int,
    *,
    state: TrialState,
    value: float | None,
    attributes: Mapping[str, Any],
) -> None:
    """Give a trial its final state, value and attributes."""
    connection.execute(
        update(optuna_trials)
        .where(optuna_trials.c.trial_id == trial_id)
        .values(state=state, datetime_complete=whole_clock())
    )
    if value is not None:
        stored, kind = TrialValueModel.value_to_stored_repr(value)
        row = {"trial_id": trial_id, "objective": 0, "value": stored, "value_type": kind}
        upsert(connection, optuna_values, [row], keys=("trial_id", "objective"))
    write_attributes(connection, trial_id, attributes)


def write_attributes(connection: Connection, trial_id: int, attributes: Mapping[str, Any]) -> None:
    """Set user attributes; raises UserError for one that MySQL would cut off."""
    rows = []
    for key, value in attributes.items():
        text = json.dumps(value)
        if len(text.encode()) > ATTRIBUTE_BYTES:
            raise UserError(
                f"attribute {key} has {len(text.encode())} bytes, the database takes "
                f"{ATTRIBUTE_BYTES}; store it as a blob"
            )
        rows.append({"trial_id": trial_id, "key": key, "value_json": text})
    upsert(connection, optuna_attributes, rows, keys=("trial_id", "key"))


def write_reports(
    connection: Connection, trial_id: int, values: Sequence[tuple[int, float]]
) -> None:
    """Set intermediate values; the last of one step counts."""
    rows = []
    for step, value in dict(values).items():
        stored, kind = TrialIntermediateValueModel.intermediate_value_to_stored_repr(value)
        rows.append(
            {
                "trial_id": trial_id,
                "step": step,
                "intermediate_value": stored,
                "intermediate_value_type": kind,
            }
        )
    upsert(connection, optuna_reports, rows, keys=("trial_id", "step"))


def read_reports(connection: Connection, trial_ids: Sequence[int]) -> dict[int, dict[int, float]]:
    """Intermediate values of trials: step to value, by step."""
    rows = connection.execute(
        select(
            optuna_reports.c.trial_id,
            optuna_reports.c.step,
            optuna_reports.c.intermediate_value,
            # As text: an Enum for each of 100,000 rows takes longer than reading them.
            type_coerce(optuna_reports.c.intermediate_value_type, String),
        )
        .where(optuna_reports.c.trial_id.in_(trial_ids))
        .order_by(optuna_reports.c.step)
    ).all()
    found: dict[int, dict[int, float]] = {trial_id: {} for trial_id in trial_ids}
    for trial_id, step, stored, kind in rows:
        found[trial_id][step] = stored if kind == FINITE else _unusual(stored, kind)
    return found


def _unusual(stored: float | None, kind: str) -> float:
    """NaN and the infinities."""
    model = TrialIntermediateValueModel
    return model.stored_repr_to_intermediate_value(stored, model.TrialIntermediateValueType[kind])


def read_values(connection: Connection, trial_ids: Sequence[int]) -> dict[int, float]:
    """Final values of those trials that have one."""
    rows = connection.execute(
        select(optuna_values.c.trial_id, optuna_values.c.value, optuna_values.c.value_type).where(
            optuna_values.c.trial_id.in_(trial_ids), optuna_values.c.objective == 0
        )
    )
    return {
        trial_id: TrialValueModel.stored_repr_to_value(stored, kind)
        for trial_id, stored, kind in rows
    }


def best_first(direction: str) -> ColumnElement[float]:
    """What to order Optuna's values by, so that the best of a study comes first."""
    value = optuna_values.c.value
    return value.desc() if direction == "maximize" else value.asc()


def upsert(
    connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]], *, keys: Sequence[str]
) -> None:
    """Insert rows; where a row with these keys stands already, overwrite the rest of it."""
    if not rows:
        return
    # A row's values may be expressions (the database's clock); parameters are compiled once.
    fixed = {name: each for name, each in rows[0].items() if isinstance(each, ClauseElement)}
    plain = [{name: row[name] for name in row if name not in fixed} for row in rows]
    names = [name for name in rows[0] if name not in keys]
    if connection.dialect.name == "sqlite":
        lite = sqlite.insert(table)
        lite = lite.values(fixed) if fixed else lite
        connection.execute(
            lite.on_conflict_do_update(
                index_elements=list(keys), set_={name: lite.excluded[name] for name in names}
            ),
            plain,
        )
        return
    big = mysql.insert(table)
    big = big.values(fixed) if fixed else big
    # The driver sends all rows in one statement.
    connection.execute(
        big.on_duplicate_key_update({name: big.inserted[name] for name in names}), plain
    )


def inserted_id(result: CursorResult[Any]) -> int:
    """The id that the database gave to the one row just inserted."""
    if result.inserted_primary_key is None:
        raise RuntimeError("the insert returned no id")
    return int(result.inserted_primary_key[0])


def is_number(value: float | None) -> bool:
    """Whether a trial may be COMPLETE with this value; Optuna refuses NaN."""
    return value is not None and not math.isnan(value)
