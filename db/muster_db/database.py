"""What a worker reaches the shared tables through: an engine, or a proxy in its place."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import Engine

from muster_db.proxy.client import Remote
from muster_db.urls import show

P = ParamSpec("P")
T = TypeVar("T")
Database = Engine | Remote


def remotable(verb: Callable[Concatenate[Engine, P], T]) -> Callable[Concatenate[Database, P], T]:
    """A verb that takes a proxy in an engine's place, and runs there.

    Its arguments and its answer are plain data (proxy/messages.py); it stands in proxy/verbs.py.
    """

    @wraps(verb)
    def either(database: Database, /, *args: P.args, **named: P.kwargs) -> T:
        if isinstance(database, Remote):
            answer: T = database.call(verb, *args, **named)
            return answer
        return verb(database, *args, **named)

    return either


def place_of(database: Database) -> str:
    """Its URL for a message, without a secret."""
    return database.place if isinstance(database, Remote) else show(database.url)


def write_often(database: Database) -> None:
    """Say that this process writes every few seconds, so that reads may wait for its commits."""
    if not isinstance(database, Remote):
        database.update_execution_options(muster_writes_soon=True)


def set_patience(database: Database, seconds: float) -> None:
    """Change how long verbs go on trying before they raise Unavailable."""
    if isinstance(database, Remote):
        database.patience_seconds = seconds
    else:
        database.update_execution_options(muster_patience=seconds)
