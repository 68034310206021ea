"""What changed in a study since a revision of it, for mirrors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, select

from muster_db import digest, records
from muster_db.database import remotable
from muster_db.distributions import Distribution
from muster_db.engine import transact
from muster_db.leases import RESERVED, TOLD
from muster_db.study import StudyKey
from muster_db.tables import optuna_trials, trials

BATCH = 500


@dataclass(frozen=True)
class Change:
    """A trial as it is by now. params: names and Optuna's internal numbers, in their order.

    outcome: as digest.of_outcome writes it, None where the trial is not told. is_ahead: claimed
    to be begun later.
    """

    number: int
    params_hash: str
    params: list[tuple[str, float]]
    outcome: str | None
    is_ahead: bool = False


@dataclass(frozen=True)
class News:
    """Changed trials by number, the revision they lead to, and distributions by name."""

    changes: list[Change]
    revision: int
    distributions: dict[str, Distribution]


@remotable
def read_news(
    engine: Engine, study: StudyKey, *, revision: int, known: Sequence[str] = ()
) -> News:
    """The trials that changed after that revision, 0 for all.

    known: names whose distributions are not wanted: one name has one distribution for good.
    """
    return transact(
        engine,
        lambda connection: _read(connection, study.study_id, revision, frozenset(known)),
        read_only=True,
    )


def _read(connection: Connection, study_id: int, revision: int, known: frozenset[str]) -> News:
    rows = connection.execute(
        select(
            trials.c.trial_id,
            trials.c.number,
            trials.c.revision,
            trials.c.params_hash,
            trials.c.state,
            trials.c.params,
            trials.c.outcome,
        )
        .where(trials.c.study_id == study_id, trials.c.revision > revision)
        .order_by(trials.c.number)
    ).all()
    plain = [row for row in rows if not _has_digest(row)]
    whole: dict[int, Change] = {}
    for start in range(0, len(plain), BATCH):
        whole |= _read_whole(connection, plain[start : start + BATCH])
    changes: list[Change] = []
    distributions: dict[str, Distribution] = {}
    for row in rows:
        change = whole.get(row.number) or _change(row)
        if any(name not in known and name not in distributions for name, _ in change.params):
            params = records.read_internal_params(connection, [row.trial_id])[row.trial_id]
            distributions |= {name: each for name, _, each in params}
        changes.append(change)
    newest = max((row.revision for row in rows), default=revision)
    return News(changes, newest, distributions)


def _has_digest(row: Any) -> bool:
    """Whether the row was written by revision 0004 or later of the schema, from first to last."""
    return row.params is not None and (row.state == TOLD) == (row.outcome is not None)


def _change(row: Any) -> Change:
    params = digest.read_params(row.params)
    return Change(row.number, row.params_hash, params, row.outcome, row.state == RESERVED)


def _read_whole(connection: Connection, rows: Sequence[Any]) -> dict[int, Change]:
    """Changes by trials' numbers, out of Optuna's tables."""
    trial_ids = [row.trial_id for row in rows]
    shown = select(optuna_trials.c.trial_id, optuna_trials.c.state)
    states = {
        trial_id: state
        for trial_id, state in connection.execute(
            shown.where(optuna_trials.c.trial_id.in_(trial_ids))
        )
    }
    told_ids = {trial_id for trial_id, state in states.items() if state.is_finished()}
    params = records.read_internal_params(connection, trial_ids)
    values = records.read_values(connection, list(told_ids))
    reports = records.read_reports(connection, list(told_ids))
    outcomes = {
        trial_id: digest.of_outcome(
            states[trial_id], values.get(trial_id), reports.get(trial_id, {})
        )
        for trial_id in told_ids
    }
    return {
        row.number: Change(
            row.number,
            row.params_hash,
            [(name, value) for name, value, _ in params[row.trial_id]],
            outcomes.get(row.trial_id),
            row.state == RESERVED,
        )
        for row in rows
    }
