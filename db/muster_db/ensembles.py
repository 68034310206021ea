"""The current ensemble of a study and what it is worth, for everybody to see."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict
from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Row,
    exists,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from muster_db import notes
from muster_db.clock import clock, now
from muster_db.engine import transact
from muster_db.leases import TOLD
from muster_db.progress import study_row
from muster_db.study import OPEN, Study
from muster_db.tables import ensembles, optuna_studies, studies, trials


class EnsembleMember(BaseModel):
    """A trial that votes. weight: its share of the vote; the sum over the members is 1."""

    model_config = ConfigDict(frozen=True)

    number: int
    architecture: str
    weight: float


class Snapshot(BaseModel):
    """The ensemble that the trials of a moment make, by figures of the study's metric.

    trials: completed ones that were looked at. rule: the one that votes; asked: `auto`, or the
    same. nested: the estimate, with its 95 % interval low to high; naive: over the predictions
    that chose the ensemble. single: the best trial's number, with its own two figures. p_value:
    McNemar's, of ensemble against single. at: when it was recorded, naive UTC by the database.
    """

    model_config = ConfigDict(frozen=True)

    trials: int
    rule: str
    asked: str
    metric: str
    members: tuple[EnsembleMember, ...]
    nested: float
    low: float
    high: float
    naive: float
    single: int
    single_nested: float
    single_naive: float
    p_value: float
    at: datetime | None = None


def revision(engine: Engine, study: Study) -> int:
    """How far the study has come: read it, then the trials, then record with it."""
    row = transact(engine, lambda connection: study_row(connection, study), read_only=True)
    return int(row.revision)


def record(
    engine: Engine,
    study: Study,
    snapshot: Snapshot,
    *,
    revision: int,
    is_judged: bool = False,
) -> None:
    """Make this the study's ensemble, in its note for optuna-dashboard too.

    revision: of the study, from before its trials were read; an ensemble of later trials stays.
    is_judged: whether a patience on the ensemble goes by it. Raises UserError when the study has
    been deleted.
    """

    def verb(connection: Connection) -> None:
        # Locked: who records at the same time comes after us and sees what we did.
        locked = select(studies.c.study_id).where(studies.c.study_id == study.study_id)
        connection.execute(locked.with_for_update())
        study_row(connection, study)
        old = _row(connection, study.study_id)
        values: dict[str, Any] = {}
        if old is None or (old.revision or 0) <= revision:
            dated = snapshot.model_copy(update={"at": now(connection)})
            values |= {
                "snapshot": dated.model_dump_json(),
                "recorded_at": dated.at,
                "revision": revision,
            }
            notes.write(connection, study.study_id, study.contract, _in_words(dated))
        if is_judged and (old is None or (old.judged or 0) <= revision):
            values["judged"] = revision
            if old is None or old.best is None or _is_better(study, snapshot.nested, old.best):
                values |= {"best": snapshot.nested, "best_revision": revision}
        if old is None:
            connection.execute(insert(ensembles).values(study_id=study.study_id, **values))
        elif values:
            ours = update(ensembles).where(ensembles.c.study_id == study.study_id)
            connection.execute(ours.values(**values))

    transact(engine, verb)


def current(engine: Engine, study: Study) -> Snapshot | None:
    """The study's ensemble as it was recorded last; None before the first."""
    return transact(
        engine, lambda connection: read_current(connection, study.study_id), read_only=True
    )


def read_current(connection: Connection, study_id: int) -> Snapshot | None:
    """current, inside a transaction."""
    row = _row(connection, study_id)
    if row is None or row.snapshot is None:
        return None
    return Snapshot.model_validate_json(row.snapshot)


def take_turn(
    engine: Engine,
    *,
    hold_seconds: float,
    study_name: str | None = None,
    is_last: bool = False,
) -> str | None:
    """The name of a study whose estimate it is this process's turn to make, if there is one.

    An open study in which trials have been told since its ensemble was recorded, and which does
    not rest. Nobody else gets the turn for hold_seconds by the database's clock, or until it is
    ended. study_name: just that study. is_last: one that rests, too.
    """
    is_news = exists().where(
        trials.c.study_id == studies.c.study_id,
        trials.c.revision > func.coalesce(ensembles.c.revision, 0),
        trials.c.state == TOLD,
    )
    query = (
        select(studies.c.study_id, optuna_studies.c.study_name)
        .join_from(studies, optuna_studies, studies.c.study_id == optuna_studies.c.study_id)
        .outerjoin(ensembles, studies.c.study_id == ensembles.c.study_id)
        .where(studies.c.state == OPEN, is_news, _has_passed(ensembles.c.held_until))
        .order_by(studies.c.priority.desc(), studies.c.study_id)
        .limit(1)
    )
    if not is_last:
        query = query.where(_has_passed(ensembles.c.rests_until))
    if study_name is not None:
        query = query.where(optuna_studies.c.study_name == study_name)
    # A look takes no lock; most find nothing.
    found = transact(
        engine, lambda connection: connection.execute(query).one_or_none(), read_only=True
    )
    if found is None:
        return None
    study_id, name = found
    is_ours = transact(engine, lambda connection: _take(connection, study_id, hold_seconds))
    return str(name) if is_ours else None


def pass_over(engine: Engine, study: Study, *, revision: int) -> None:
    """End the news up to that revision, which make no ensemble; what is recorded stays."""
    _set(engine, study, revision=revision)


def hold_turn(engine: Engine, study: Study, *, hold_seconds: float) -> None:
    """Keep a turn that was taken for so long from now on."""
    _set(engine, study, held_until=clock(hold_seconds))


def end_turn(engine: Engine, study: Study, *, rest_seconds: float) -> None:
    """End a turn; the next one comes after so long."""
    _set(engine, study, held_until=None, rests_until=clock(rest_seconds))


def _set(engine: Engine, study: Study, **values: Any) -> None:
    changed = update(ensembles).where(ensembles.c.study_id == study.study_id).values(**values)
    transact(engine, lambda connection: connection.execute(changed))


def _take(connection: Connection, study_id: int, hold_seconds: float) -> bool:
    held = {"held_until": clock(hold_seconds)}
    free = ensembles.c.study_id == study_id, _has_passed(ensembles.c.held_until)
    if connection.execute(update(ensembles).where(*free).values(**held)).rowcount == 1:
        return True
    if _row(connection, study_id) is not None:
        return False
    try:
        connection.execute(insert(ensembles).values(study_id=study_id, **held))
    except IntegrityError:
        # Another process made the row, or the study has been deleted.
        return False
    return True


def _has_passed(moment: ColumnElement[datetime]) -> ColumnElement[bool]:
    return or_(moment.is_(None), moment <= clock())


def _row(connection: Connection, study_id: int) -> Row[Any] | None:
    query = select(ensembles).where(ensembles.c.study_id == study_id)
    return connection.execute(query).one_or_none()


def _is_better(study: Study, value: float, than: float) -> bool:
    return value > than if study.contract.direction == "maximize" else value < than


def _in_words(snapshot: Snapshot) -> str:
    """Markdown for the note."""
    members = "\n".join(
        f"| {each.number} | {each.architecture} | {each.weight:.2f} |" for each in snapshot.members
    )
    return (
        f"### Current ensemble\n\n"
        f"{snapshot.metric} **{snapshot.nested:.4f}** by nested cross-validation, 95 % interval "
        f"{snapshot.low:.4f} to {snapshot.high:.4f} ({snapshot.naive:.4f} on the predictions "
        f"that chose it). The best trial, number {snapshot.single}, alone: "
        f"{snapshot.single_nested:.4f}; p = {snapshot.p_value:.3f}.\n\n"
        f"Rule {snapshot.rule}, out of {snapshot.trials} completed trials"
        f"{'' if snapshot.at is None else f', {snapshot.at:%Y-%m-%d %H:%M} UTC'}.\n\n"
        f"| trial | architecture | weight |\n| ---: | --- | ---: |\n{members}\n"
    )
