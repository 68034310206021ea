"""How far away the database is."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

from sqlalchemy import Connection, Engine

from muster_db.database import Database, remotable
from muster_db.engine import transact
from muster_db.proxy.client import Remote

TRIPS = 5


def round_trip_seconds(database: Database) -> float:
    """Seconds from asking the database for nothing to its answer, the median of a few.

    Through a proxy, its way to the database is a part of it. Raises Unavailable.
    """
    if isinstance(database, Remote):
        return _median_seconds(lambda: answer(database))

    def verb(connection: Connection) -> float:
        return _median_seconds(lambda: connection.exec_driver_sql("SELECT 1"))

    return transact(database, verb, read_only=True)


@remotable
def answer(engine: Engine) -> None:
    """Ask the database for nothing. Raises Unavailable."""
    transact(engine, lambda connection: connection.exec_driver_sql("SELECT 1"), read_only=True)


def _median_seconds(ask: Callable[[], object]) -> float:
    taken = []
    for _ in range(TRIPS):
        began = time.monotonic()
        ask()
        taken.append(time.monotonic() - began)
    return median(taken)
