"""What watchers read of studies: everything once, from then on what has changed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from optuna.trial import TrialState
from sqlalchemy import Column, Connection, Select, Table, select

from muster_db import digest, leases, records
from muster_db.tables import (
    OPTUNA,
    optuna_attributes,
    optuna_studies,
    optuna_study_facts,
    optuna_trials,
    studies,
    trials,
)

BATCH = 500
optuna_trial_facts: Table = OPTUNA.tables["trial_system_attributes"]
optuna_study_attributes: Table = OPTUNA.tables["study_user_attributes"]

Internal = tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class StudyHead:
    """A study's row without its contract. Times are naive UTC by the database's clock."""

    study_id: int
    name: str
    contract_hash: str
    state: str
    priority: int
    budget: int
    asked: int | None
    claimed: int
    told: int
    revision: int
    created_at: datetime
    ends_at: datetime | None
    patience: int | None


@dataclass(frozen=True, eq=False)
class SeenTrial:
    """A trial as it was when it was read. shown: the state in Optuna; lease: in muster.

    params: Optuna's internal numbers. reports: step to value. attributes, facts: user and system
    attributes, JSON texts by key.
    """

    trial_id: int
    number: int
    shown: TrialState
    lease: str
    worker_id: int | None
    attempt: int
    failures: int
    started: datetime | None
    ended: datetime | None
    params: Internal
    value: float | None
    reports: Mapping[int, float]
    attributes: Mapping[str, str]
    facts: Mapping[str, str]

    @property
    def is_told(self) -> bool:
        """Whether nothing of it changes any more."""
        return self.lease == leases.TOLD


def read_heads(connection: Connection) -> list[StudyHead]:
    """All studies, by priority, the highest first, then by age."""
    names = [each for each in StudyHead.__dataclass_fields__ if each != "name"]
    query = (
        select(optuna_studies.c.study_name.label("name"), *(studies.c[name] for name in names))
        .join_from(studies, optuna_studies, studies.c.study_id == optuna_studies.c.study_id)
        .order_by(studies.c.priority.desc(), studies.c.study_id)
    )
    return [StudyHead(**row._mapping) for row in connection.execute(query)]


def read_trials(connection: Connection, study_id: int, *, since: int) -> list[SeenTrial]:
    """The trials that changed after revision since, and all that are not told, by number."""
    changed = trials.c.revision > since
    is_open = trials.c.state.in_((leases.RESERVED, leases.RUNNING, *leases.TAKEABLE))
    rows: dict[int, Any] = {}
    # Two questions: an index answers each, none answers both at once.
    for condition in (changed, is_open):
        selected = connection.execute(_rows().where(trials.c.study_id == study_id, condition))
        rows |= {row.trial_id: row for row in selected}
    whole = [each for each, row in rows.items() if row.params is None]
    unended = [
        each for each, row in rows.items() if row.lease != leases.TOLD or row.outcome is None
    ]
    found = _Found(
        params=_batched(records.read_internal_params, connection, whole),
        reports=_batched(records.read_reports, connection, unended),
        values=_batched(records.read_values, connection, unended),
        attributes=_texts(connection, optuna_attributes, optuna_attributes.c.trial_id, list(rows)),
        facts=_texts(connection, optuna_trial_facts, optuna_trial_facts.c.trial_id, list(rows)),
    )
    return [_seen(row, found) for row in sorted(rows.values(), key=lambda row: int(row.number))]


@dataclass(frozen=True)
class _Found:
    """By trial. params, reports, values: of those trials alone whose row does not hold them."""

    params: Mapping[int, Any]
    reports: Mapping[int, Any]
    values: Mapping[int, float]
    attributes: Mapping[int, Mapping[str, str]]
    facts: Mapping[int, Mapping[str, str]]


def _seen(row: Any, found: _Found) -> SeenTrial:
    trial_id = row.trial_id
    if trial_id in found.params:
        params = [(name, number) for name, number, _ in found.params[trial_id]]
    else:
        params = digest.read_params(row.params)
    if trial_id in found.reports:
        value, reports = found.values.get(trial_id), found.reports[trial_id]
    else:
        outcome = digest.read_outcome(row.outcome)
        value, reports = outcome.value, outcome.reports
    return SeenTrial(
        trial_id=trial_id,
        number=row.number,
        shown=row.shown,
        lease=row.lease,
        worker_id=row.worker_id,
        attempt=row.attempt,
        failures=row.failures,
        started=row.datetime_start,
        ended=row.datetime_complete,
        params=tuple(params),
        value=value,
        reports=reports,
        attributes=found.attributes.get(trial_id, {}),
        facts=found.facts.get(trial_id, {}),
    )


def read_facts(connection: Connection, study_id: int) -> tuple[dict[str, str], dict[str, str]]:
    """A study's user and system attributes in Optuna, JSON texts by key."""
    found = []
    for table in (optuna_study_attributes, optuna_study_facts):
        texts = _texts(connection, table, table.c.study_id, [study_id])
        found.append(texts.get(study_id, {}))
    return found[0], found[1]


def _rows() -> Select[Any]:
    return select(
        trials.c.trial_id,
        trials.c.number,
        trials.c.state.label("lease"),
        trials.c.worker_id,
        trials.c.attempt,
        trials.c.failures,
        trials.c.params,
        trials.c.outcome,
        optuna_trials.c.state.label("shown"),
        optuna_trials.c.datetime_start,
        optuna_trials.c.datetime_complete,
    ).join_from(trials, optuna_trials, trials.c.trial_id == optuna_trials.c.trial_id)


def _batched(read: Any, connection: Connection, trial_ids: Sequence[int]) -> dict[int, Any]:
    found: dict[int, Any] = {}
    for start in range(0, len(trial_ids), BATCH):
        found |= read(connection, trial_ids[start : start + BATCH])
    return found


def _texts(
    connection: Connection, table: Table, owner: Column[Any], ids: Sequence[int]
) -> dict[int, dict[str, str]]:
    found: defaultdict[int, dict[str, str]] = defaultdict(dict)
    for start in range(0, len(ids), BATCH):
        query = select(owner, table.c.key, table.c.value_json)
        for each, key, text in connection.execute(
            query.where(owner.in_(ids[start : start + BATCH]))
        ):
            found[each][key] = text
    return dict(found)
