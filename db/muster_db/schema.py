"""The tables in the database: made once, checked before each use."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import optuna.storages._rdb
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from optuna.storages._rdb import models
from sqlalchemy import Connection, Engine, MetaData, inspect, select, text

from muster.errors import Unavailable, UserError
from muster_db import urls
from muster_db.database import remotable
from muster_db.engine import transact
from muster_db.tables import OPTUNA

log = logging.getLogger(__name__)

VERSION_TABLE = "muster_alembic_version"
OPTUNA_VERSION_TABLE = "alembic_version"
MIGRATIONS = Path(__file__).parent / "migrations"
OPTUNA_MIGRATIONS = Path(optuna.storages._rdb.__file__).parent / "alembic"
LOCK_NAME = "muster:schema"
LOCK_SECONDS = 1
LOCK_TRIES = 20


def initialise(engine: Engine) -> None:
    """Make Optuna's tables and ours, or bring ours up to date; safe when many start together.

    Raises UserError where the tables are newer than this muster or Optuna's are of another
    version, Unavailable where another process holds the lock for too long.
    """
    transact(engine, _initialise)


@remotable
def check(engine: Engine) -> None:
    """Raise UserError where the tables are missing, older or newer than this muster."""
    transact(engine, _check, read_only=True)


def _initialise(connection: Connection) -> None:
    for _ in range(LOCK_TRIES):
        # Many that start together need no turn each once one of them has made the tables.
        if _is_current(connection):
            return
        with _lock(connection) as is_ours:
            if is_ours:
                _make(connection)
                return
    raise Unavailable(
        f"{_place(connection)}: another process has been making the tables for "
        f"{LOCK_SECONDS * LOCK_TRIES} s; try again"
    )


def _make(connection: Connection) -> None:
    if MigrationContext.configure(connection).get_current_revision() is None:
        _make_optuna_tables(connection)
    _check_optuna(connection)
    _check_not_newer(connection)
    command.upgrade(_config(MIGRATIONS, connection), "head")


def _check(connection: Connection) -> None:
    _check_optuna(connection)
    _check_not_newer(connection)
    current, head = _current(connection, VERSION_TABLE), _head(MIGRATIONS)
    if current != head:
        raise UserError(
            f"{_place(connection)}: the tables have version {current or 'none'}, this muster "
            f"needs {head}; run `muster db {'upgrade' if current else 'init'}`"
        )


def _is_current(connection: Connection) -> bool:
    return _current(connection, VERSION_TABLE) == _head(MIGRATIONS) and _current(
        connection, OPTUNA_VERSION_TABLE
    ) == _head(OPTUNA_MIGRATIONS)


def _check_optuna(connection: Connection) -> None:
    current, head = _current(connection, OPTUNA_VERSION_TABLE), _head(OPTUNA_MIGRATIONS)
    if current is None:
        raise UserError(f"{_place(connection)}: muster's tables are missing; run `muster db init`")
    if current == head:
        return
    known = {script.revision for script in _scripts(OPTUNA_MIGRATIONS).walk_revisions()}
    mend = (
        "back it up, then run `optuna storage upgrade`"
        if current in known
        else "a newer Optuna made them; install the newest muster"
    )
    raise UserError(
        f"{_place(connection)}: Optuna's tables have version {current}, this muster needs "
        f"{head}; {mend}"
    )


def _check_not_newer(connection: Connection) -> None:
    current = _current(connection, VERSION_TABLE)
    known = {script.revision for script in _scripts(MIGRATIONS).walk_revisions()}
    if current is not None and current not in known:
        raise UserError(
            f"{_place(connection)}: the tables have version {current}, which a newer muster "
            f"made; this one knows up to {_head(MIGRATIONS)}; install the newest muster"
        )


def _make_optuna_tables(connection: Connection) -> None:
    """What optuna.storages.RDBStorage makes, with names compared by their bytes on MySQL.

    RDBStorage would make its tables on a connection of its own, which waits for ours on SQLite.
    """
    copies = MetaData()
    for table in OPTUNA.sorted_tables:
        copy = table.to_metadata(copies)
        copy.dialect_options["mysql"].update(
            {"engine": "InnoDB", "charset": "utf8mb4", "collate": "utf8mb4_bin"}
        )
    copies.create_all(connection)
    version = copies.tables["version_info"]
    if connection.execute(select(version.c.version_info_id)).first() is None:
        connection.execute(
            version.insert().values(
                version_info_id=1,
                schema_version=models.SCHEMA_VERSION,
                library_version=optuna.__version__,
            )
        )
    context = MigrationContext.configure(connection)
    context.stamp(_scripts(OPTUNA_MIGRATIONS), "head")
    log.debug("made Optuna's tables, version %s", _head(OPTUNA_MIGRATIONS))


@contextmanager
def _lock(connection: Connection) -> Iterator[bool]:
    """Whether this process alone may make tables. SQLite's BEGIN IMMEDIATE holds the file."""
    if connection.dialect.name == "sqlite":
        yield True
        return
    # The lock is the server's, not the database's: two databases must not wait for each other.
    name = f"{LOCK_NAME}:{connection.engine.url.database}"[:64]
    taken = connection.execute(
        text("SELECT GET_LOCK(:name, :seconds)"), {"name": name, "seconds": LOCK_SECONDS}
    ).scalar()
    if taken != 1:
        yield False
        return
    try:
        yield True
    finally:
        connection.execute(text("SELECT RELEASE_LOCK(:name)"), {"name": name})


def _current(connection: Connection, version_table: str) -> str | None:
    if not inspect(connection).has_table(version_table):
        return None
    context = MigrationContext.configure(connection, opts={"version_table": version_table})
    return context.get_current_revision()


@cache
def _head(folder: Path) -> str:
    head = _scripts(folder).get_current_head()
    if head is None:
        raise RuntimeError(f"{folder}: no migrations; the installation is damaged")
    return head


def _scripts(folder: Path) -> ScriptDirectory:
    return ScriptDirectory(str(folder))


def _config(folder: Path, connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def _place(connection: Connection) -> str:
    return urls.show(connection.engine.url)
