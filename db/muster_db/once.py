"""Verbs that happen once, although the answer to their commit may be lost."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Sequence

from sqlalchemy import Connection, Engine, insert, select, update
from sqlalchemy.exc import IntegrityError

from muster_db.clock import clock
from muster_db.engine import transact
from muster_db.tables import verbs


def once(
    engine: Engine, verb: Callable[[Connection], Sequence[int]], *, token: str | None = None
) -> list[int]:
    """Run verb in one transaction and return its numbers, also where an earlier try took effect.

    For what leaves no trace to know one's own run by: a counter that grows, a row that is one
    of many. token: names the run, where the caller may have to repeat it. Raises what transact
    raises.
    """
    token = token or uuid.uuid4().hex

    def marked(connection: Connection) -> list[int]:
        try:
            # First: where the earlier try is still being committed, this waits for its end.
            connection.execute(insert(verbs).values(token=token, done_at=clock()))
        except IntegrityError:
            done = select(verbs.c.result).where(verbs.c.token == token)
            earlier: list[int] = json.loads(connection.execute(done).scalar_one())
            return earlier
        result = list(verb(connection))
        noted = update(verbs).where(verbs.c.token == token)
        connection.execute(noted.values(result=json.dumps(result)))
        return result

    return transact(engine, marked)
