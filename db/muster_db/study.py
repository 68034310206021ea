"""Studies: their contract, their budget and whether they take work."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from optuna.study import StudyDirection
from pydantic import ValidationError
from sqlalchemy import (
    Connection,
    Engine,
    Row,
    Select,
    delete,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from muster.errors import UserError
from muster_db import notes, tables
from muster_db.clock import clock
from muster_db.contract import Contract
from muster_db.database import Database, remotable
from muster_db.engine import transact
from muster_db.limits import BEST, NO_LIMITS, Limits
from muster_db.once import once
from muster_db.records import inserted_id
from muster_db.tables import (
    optuna_directions,
    optuna_studies,
    optuna_study_facts,
    studies,
)

StudyState = Literal["open", "stopped"]
NAME_CHARACTERS = 255
OPEN: Final = "open"
STOPPED: Final = "stopped"


@dataclass(frozen=True)
class StudyKey:
    """What names a study to a verb; a Study will do."""

    study_id: int
    name: str


@dataclass(frozen=True)
class Study(StudyKey):
    """One study as the database had it when it was read.

    budget: trials to run; fewer than were asked for where a limit has ended the study.
    """

    contract: Contract
    budget: int
    state: StudyState
    priority: int
    max_attempts: int
    limits: Limits = NO_LIMITS
    asked: int | None = None

    @property
    def is_cut(self) -> bool:
        """Whether a limit has ended the study before the trials that were asked for."""
        return self.asked is not None and self.asked > self.budget


def create_study(
    engine: Engine,
    *,
    name: str,
    contract: Contract,
    budget: int,
    priority: int = 0,
    max_attempts: int = 3,
    limits: Limits = NO_LIMITS,
) -> Study:
    """Create a study of budget trials; raises UserError for a bad budget or a taken name."""
    problems = []
    if budget < 1:
        problems.append(f"a budget of {budget} trials asks for nothing; ask for 1 or more")
    if max_attempts < 1:
        problems.append(f"max_attempts={max_attempts} leaves no attempt; allow 1 or more")
    if not name.strip() or len(name) > NAME_CHARACTERS:
        problems.append(f"a study's name has 1 to {NAME_CHARACTERS} characters")
    if problems:
        raise UserError(f"study {name!r}: " + "; ".join(problems))

    def verb(connection: Connection) -> Sequence[int]:
        study_id = _insert_optuna_study(connection, name, contract)
        connection.execute(
            insert(studies).values(
                study_id=study_id,
                contract_hash=contract.hash,
                contract=contract.canonical,
                state=OPEN,
                priority=priority,
                max_attempts=max_attempts,
                budget=budget,
                claimed=0,
                told=0,
                joined=0,
                revision=0,
                created_at=clock(),
                ends_at=None if limits.seconds is None else clock(limits.seconds),
                patience=limits.patience,
                limit_seconds=limits.seconds,
                patience_on=limits.patience_on,
            )
        )
        notes.write(connection, study_id, contract, notes.NO_ENSEMBLE)
        return [study_id]

    (study_id,) = once(engine, verb)
    return Study(study_id, name, contract, budget, OPEN, priority, max_attempts, limits)


def open_study(engine: Database, name: str) -> Study:
    """The study of that name; raises UserError that lists the known ones."""
    known = {study.name: study for study in list_studies(engine, name)}
    if name not in known:
        others = [study.name for study in list_studies(engine)]
        listed = ", ".join(others) if others else "none yet; create one with `muster study create`"
        raise UserError(f"there is no study {name!r}; the studies here: {listed}")
    return known[name]


@remotable
def list_studies(engine: Engine, name: str | None = None) -> list[Study]:
    """All studies (or those of one name), by priority, the highest first, then by age."""
    query = _query()
    if name is not None:
        query = query.where(optuna_studies.c.study_name == name)
    rows = transact(engine, lambda connection: connection.execute(query).all(), read_only=True)
    return [_study(row) for row in rows]


def stop_study(engine: Engine, study: Study) -> None:
    """Let nobody claim: workers give back what they hold and leave."""
    _update(engine, study, state=STOPPED)


def resume_study(engine: Engine, study: Study) -> None:
    """Let workers claim again."""
    _update(engine, study, state=OPEN)


def delete_study(engine: Engine, study: Study) -> None:
    """Delete a study with its trials; its blobs stay until garbage is collected."""

    def verb(connection: Connection) -> None:
        ours = select(tables.optuna_trials.c.trial_id).where(
            tables.optuna_trials.c.study_id == study.study_id
        )
        # Our rows go with theirs: by foreign key, and on SQLite by trigger as well.
        for table in reversed(tables.OPTUNA.sorted_tables):
            if "study_id" in table.c:
                connection.execute(delete(table).where(table.c.study_id == study.study_id))
            elif "trial_id" in table.c:
                connection.execute(delete(table).where(table.c.trial_id.in_(ours)))

    transact(engine, verb)


def _insert_optuna_study(connection: Connection, name: str, contract: Contract) -> int:
    try:
        result = connection.execute(insert(optuna_studies).values(study_name=name))
    except IntegrityError as error:
        raise UserError(
            f"there is a study {name!r} already; name another, or go on with that one"
        ) from error
    study_id = inserted_id(result)
    connection.execute(
        insert(optuna_directions).values(
            study_id=study_id, objective=0, direction=StudyDirection[contract.direction.upper()]
        )
    )
    # As Study.set_metric_names writes it, so that the dashboard's axes name the metric.
    connection.execute(
        insert(optuna_study_facts).values(
            study_id=study_id, key="study:metric_names", value_json=json.dumps([contract.metric])
        )
    )
    return study_id


def _update(engine: Engine, study: Study, **values: Any) -> None:
    transact(engine, lambda connection: _change(connection, study, **values))


def _change(connection: Connection, study: Study, **values: Any) -> None:
    changed = connection.execute(
        update(studies).where(studies.c.study_id == study.study_id).values(**values)
    ).rowcount
    if changed != 1:
        raise UserError(f"study {study.name!r} has been deleted")


def _query() -> Select[Any]:
    return (
        select(optuna_studies.c.study_name, studies)
        .join_from(studies, optuna_studies, studies.c.study_id == optuna_studies.c.study_id)
        .order_by(studies.c.priority.desc(), studies.c.study_id)
    )


def _study(row: Row[Any]) -> Study:
    try:
        contract = Contract.model_validate_json(row.contract)
    except ValidationError as error:
        raise UserError(
            f"study {row.study_name!r}: its contract was written by another version of muster; "
            "use that version, or create the study anew"
        ) from error
    return Study(
        row.study_id,
        row.study_name,
        contract,
        row.budget,
        row.state,
        row.priority,
        row.max_attempts,
        Limits(row.limit_seconds, row.patience, row.patience_on or BEST),
        row.asked,
    )
