"""Asking an existing study for more trials, or for other limits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Engine, case, func, update

from muster.errors import UserError
from muster_db.clock import clock
from muster_db.limits import NO_LIMITS, Limits
from muster_db.once import once
from muster_db.study import Study
from muster_db.tables import studies


def extend_budget(
    engine: Engine, study: Study, *, trials: int, limits: Limits = NO_LIMITS
) -> None:
    """Ask for so many trials more; these limits, counted from now, take the place of the old."""
    if trials < 1:
        raise UserError(f"extending by {trials} trials asks for nothing; ask for 1 or more")
    _ask(engine, study, studies.c.budget + trials, _time(limits) | _patience(limits))


def raise_budget(engine: Engine, study: Study, *, to: int, limits: Limits = NO_LIMITS) -> None:
    """Ask for so many trials in all, where that is more; limits as in extend_budget."""
    budget = case((studies.c.budget < to, to), else_=studies.c.budget)
    _ask(engine, study, budget, _time(limits) | _patience(limits))


def change_limits(engine: Engine, study: Study, limits: Limits) -> None:
    """Set those of the limits that are named, counted from now; the others stay.

    A study that a limit has ended is asked for all of its trials again.
    """
    values = _time(limits) if limits.seconds is not None else {}
    values |= _patience(limits) if limits.patience is not None else {}
    _ask(engine, study, func.coalesce(studies.c.asked, studies.c.budget), values)


def _time(limits: Limits) -> dict[Any, Any]:
    return {
        studies.c.limit_seconds: limits.seconds,
        studies.c.ends_at: None if limits.seconds is None else clock(limits.seconds),
    }


def _patience(limits: Limits) -> dict[Any, Any]:
    return {
        studies.c.patience: limits.patience,
        studies.c.patience_on: limits.patience_on,
        studies.c.limits_from: studies.c.revision,
    }


def _ask(engine: Engine, study: Study, budget: Any, limits: dict[Any, Any]) -> None:
    # MySQL assigns from left to right: the budget comes before what it is made of.
    values = {studies.c.budget: budget, studies.c.asked: None, **limits}
    statement = (
        update(studies).where(studies.c.study_id == study.study_id).ordered_values(*values.items())
    )

    def verb(connection: Connection) -> Sequence[int]:
        if connection.execute(statement).rowcount != 1:
            raise UserError(f"study {study.name!r} has been deleted")
        return []

    once(engine, verb)
