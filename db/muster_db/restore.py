"""Restoring a backup: into an empty database of either kind, whole or not at all."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

from optuna.trial import TrialState
from sqlalchemy import Connection, Engine, Table, func, insert, inspect, select, update
from sqlalchemy.exc import DataError, IntegrityError

from muster.errors import UserError
from muster_db import leases, schema, tables, urls
from muster_db.backup import read_lines
from muster_db.backup_file import CARRIED, BackupFile, Manifest, open_backup, to_line
from muster_db.clock import clock
from muster_db.engine import transact

FILLED = (*CARRIED, tables.blobs, tables.chunks)
MODULUS = 2**256


def restore(engine: Engine, path: Path) -> Manifest:
    """Put a backup into an empty database, whose tables are made where they are missing.

    Trials that ran are released, so that the next worker resumes each from its last checkpoint.
    The file is checked before the database is touched, and all goes in by one transaction.
    Raises UserError for a database that is not empty and for a file that is missing, damaged or
    newer than this muster; nothing is changed then.
    """
    tries = count()

    def verb(connection: Connection) -> None:
        # The answer to the commit may have been lost after it took effect.
        if next(tries) > 0 and _holds(connection, backup.manifest):
            return
        _check_empty(connection)
        _fill(connection, backup)

    with open_backup(path) as backup:
        transact(engine, _check_empty, read_only=True)
        schema.initialise(engine)
        transact(engine, verb)
        return backup.manifest


def _check_empty(connection: Connection) -> None:
    known = set(inspect(connection).get_table_names())
    for table in FILLED:
        if table.name not in known:
            continue
        if connection.execute(select(func.count()).select_from(table)).scalar():
            raise UserError(
                f"{_place(connection)}: not an empty database (there are rows in "
                f"{table.name}); restore into an empty one. Nothing was changed"
            )


def _holds(connection: Connection, manifest: Manifest) -> bool:
    """Whether the database has just the rows of the backup."""
    expected = {name: part.rows for name, part in manifest.tables.items()}
    expected[tables.blobs.name] = manifest.blobs.rows
    return all(
        connection.execute(select(func.count()).select_from(table)).scalar()
        == expected.get(table.name, 0)
        for table in (*CARRIED, tables.blobs)
    )


def _fill(connection: Connection, backup: BackupFile) -> None:
    try:
        for table in CARRIED:
            _fill_table(connection, backup, table)
    except (DataError, IntegrityError) as error:
        cause = error.orig.args[-1] if error.orig is not None else error
        raise UserError(
            f"{_place(connection)}: this database cannot hold a row of the backup "
            f"({cause}). Nothing was changed"
        ) from error
    for sha, size, pieces in backup.blobs():
        header = {"sha": sha, "size": size, "is_whole": True, "used_at": clock()}
        connection.execute(insert(tables.blobs).values(header))
        for position, piece in enumerate(pieces):
            part = {"sha": sha, "position": position, "data": piece}
            connection.execute(insert(tables.chunks), part)
    _release_running(connection)


def _fill_table(connection: Connection, backup: BackupFile, table: Table) -> None:
    """Insert a table's rows and read them back: a server may round or cut without a word."""
    expected = 0
    for rows in backup.batches(table):
        fitting = [_fitted(connection, table, row) for row in rows]
        connection.execute(insert(table), fitting)
        lines = (to_line([row.get(column.name) for column in table.c]) for row in fitting)
        expected += _digest(lines)
    if _digest(read_lines(connection, table)) != expected % MODULUS:
        raise UserError(
            f"{_place(connection)}: rows of {table.name} came back from the server other "
            "than they went in; check its sql_mode for STRICT_TRANS_TABLES. Nothing was changed"
        )


def _digest(lines: Iterable[bytes]) -> int:
    """A number for a set of lines, whatever their order: each server sorts text its own way."""
    hashes = (int.from_bytes(hashlib.sha256(line).digest(), "big") for line in lines)
    return sum(hashes) % MODULUS


def _fitted(connection: Connection, table: Table, row: dict[str, Any]) -> dict[str, Any]:
    """The row as the server can hold it: Optuna's times are whole seconds on MySQL."""
    if connection.dialect.name == "sqlite" or table.name not in tables.OPTUNA.tables:
        return row
    return {
        name: value.replace(microsecond=0) if isinstance(value, datetime) else value
        for name, value in row.items()
    }


def _release_running(connection: Connection) -> None:
    """Nobody holds a lease here: what ran waits to be resumed, and the workers have left."""
    trials, theirs, workers = tables.trials, tables.optuna_trials, tables.workers
    connection.execute(
        update(trials)
        .where(trials.c.state.in_(leases.HELD))
        .values(state=leases.RELEASED, expires_at=clock())
    )
    released = select(trials.c.trial_id).where(trials.c.state == leases.RELEASED)
    connection.execute(
        update(theirs).where(theirs.c.trial_id.in_(released)).values(state=TrialState.WAITING)
    )
    connection.execute(
        update(workers).where(workers.c.left_at.is_(None)).values(left_at=workers.c.seen_at)
    )


def _place(connection: Connection) -> str:
    return urls.show(connection.engine.url)
