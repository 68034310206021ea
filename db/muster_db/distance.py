"""How far away the database is."""

from __future__ import annotations

import time
from statistics import median

from sqlalchemy import Connection, Engine

from muster_db.engine import transact

TRIPS = 5


def round_trip_seconds(engine: Engine) -> float:
    """Seconds from asking the database for nothing to its answer, the median of a few.

    Raises Unavailable.
    """

    def verb(connection: Connection) -> float:
        taken = []
        for _ in range(TRIPS):
            began = time.monotonic()
            connection.exec_driver_sql("SELECT 1")
            taken.append(time.monotonic() - began)
        return median(taken)

    return transact(engine, verb, read_only=True)
