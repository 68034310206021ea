"""From a URL to an engine, and the one place where transactions are retried."""

from __future__ import annotations

import hashlib
import logging
import sqlite3
import ssl
from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import SQLAlchemyError
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_delay
from tenacity.wait import wait_random_exponential

from muster.errors import UserError
from muster_db import urls
from muster_db.clock import now
from muster_db.faults import explain, is_passing

__all__ = ["connect", "now", "transact"]

log = logging.getLogger(__name__)
T = TypeVar("T")

CONNECT_SECONDS = 10
# A half-open connection is noticed when a read gets no answer for that long: with a heartbeat's
# wait before it, within 30 s.
ANSWER_SECONDS = 20
# The server's side of it: what a vanished worker's transaction has locked is free again then.
IDLE_SECONDS = 30
BUSY_MILLISECONDS = 10_000
SHA_BITS = 256
LEFT_OPEN = "muster_left_open"
# A worker speaks to these instead (proxy/client.py).
PROXIES = ("grpc", "grpcs")


def connect(url: str, *, patience_seconds: float = 30.0, connections: int = 1) -> Engine:
    """An engine for an SQLite, MySQL or MariaDB URL; nothing is connected yet.

    patience_seconds: how long transact goes on trying before it raises Unavailable.
    connections: how many a server is asked for at most, by all threads together.
    Raises UserError for a URL that is none, or names another kind of database.
    """
    parsed = urls.parse(url)
    backend = parsed.get_backend_name()
    if backend == "sqlite" and parsed.drivername in ("sqlite", "sqlite+pysqlite"):
        engine = _connect_sqlite(parsed)
    elif parsed.drivername in ("mysql+pymysql", "mariadb+pymysql"):
        engine = _connect_mysql(parsed, connections=connections)
    elif parsed.drivername in PROXIES:
        raise UserError(
            f"{urls.show(parsed)}: a proxy serves `muster worker` alone; for anything else name "
            "the database's own URL"
        )
    else:
        raise UserError(
            f"{urls.show(parsed)}: {parsed.drivername} "
            f"is not a database that muster knows; write {urls.SUPPORTED}"
        )
    engine.update_execution_options(muster_patience=patience_seconds)
    return engine


def transact(engine: Engine, verb: Callable[[Connection], T], *, read_only: bool = False) -> T:
    """Run verb in one transaction; again, with jitter, after a deadlock or a lost connection.

    The answer to a commit may be lost after it took effect, so a verb that must happen once
    has to recognise its own earlier run. Raises Unavailable when the engine's patience ends,
    UserError when the fault is the user's to mend.
    """
    patience = float(engine.get_execution_options().get("muster_patience", 30.0))
    retrying = Retrying(
        retry=retry_if_exception(
            lambda error: isinstance(error, SQLAlchemyError) and is_passing(error)
        ),
        wait=wait_random_exponential(multiplier=0.05, max=2.0),
        stop=stop_after_delay(patience),
        before_sleep=_tell_retry,
        reraise=True,
    )
    try:
        result: T = retrying(_once, engine, verb, read_only)
        return result
    except SQLAlchemyError as error:
        raise explain(error, engine.url) from error


def _once(engine: Engine, verb: Callable[[Connection], T], read_only: bool) -> T:
    is_left_open = read_only and engine.get_execution_options().get("muster_writes_soon", False)
    with engine.connect() as connection:
        connection.execution_options(muster_read_only=read_only)
        connection.info[LEFT_OPEN] = is_left_open
        with connection.begin():
            return verb(connection)


def _leave_reads_open(engine: Engine) -> None:
    """Let the next write commit what was only read, in an engine with muster_writes_soon.

    That spares each reading verb a round trip. Under READ COMMITTED every statement sees what is
    committed by then, and holds no row; a change of the tables waits for the next write.
    """
    commit = engine.dialect.do_commit

    def commit_writes(connection: Any) -> None:
        if not connection.info.get(LEFT_OPEN, False):
            commit(connection)

    engine.dialect.do_commit = commit_writes  # type: ignore[method-assign,assignment]


def _tell_retry(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome is not None else None
    # What matters comes as Unavailable: the caller says it once.
    log.debug("the database did not take a transaction (try %d): %s", state.attempt_number, error)


def _connect_mysql(url: URL, *, connections: int) -> Engine:
    if not url.database:
        raise UserError(f"{urls.show(url)}: no database is named; write {urls.SUPPORTED}")
    _check_ca(url)
    engine = create_engine(
        url,
        # READ COMMITTED: under REPEATABLE READ a poller keeps seeing its first snapshot.
        isolation_level="READ COMMITTED",
        # A connection that the server has closed is noticed by the verb, which is tried again:
        # asking before each, and rolling back after, would cost every verb two round trips.
        pool_recycle=IDLE_SECONDS - 5,
        pool_reset_on_return=None,
        # 100 workers on a server of 151 connections, with room for all who look. A thread that
        # finds the connection in use waits; nobody keeps it for longer than a transaction.
        pool_size=connections,
        max_overflow=0,
        pool_timeout=ANSWER_SECONDS,
        # hide_parameters: values of trials and bytes of blobs have no place in a message.
        hide_parameters=True,
        connect_args={
            "charset": "utf8mb4",
            "connect_timeout": CONNECT_SECONDS,
            "read_timeout": ANSWER_SECONDS,
            "write_timeout": ANSWER_SECONDS,
            # A URL that brings an init_command of its own keeps it.
            "init_command": url.query.get(
                "init_command", f"SET SESSION wait_timeout = {IDLE_SECONDS}"
            ),
        },
    )
    _leave_reads_open(engine)
    return engine


def _check_ca(url: URL) -> None:
    path = url.query.get("ssl_ca")
    if not isinstance(path, str):
        return
    try:
        ssl.create_default_context(cafile=path)
    except OSError as error:
        raise UserError(
            f"{urls.show(url)}: ssl_ca: {path}: {error.strerror or 'no certificate is in it'}; "
            "name the PEM file with the certificate of the server's CA"
        ) from error


def _connect_sqlite(url: URL) -> Engine:
    if not url.database or url.database == ":memory:":
        raise UserError(f"an SQLite database needs a file; write {urls.SUPPORTED}")
    engine = create_engine(url, hide_parameters=True)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, record: Any) -> None:
    # The driver's own BEGIN is deferred: two writers that have read would lock each other out.
    connection.isolation_level = None
    for setting in (
        f"busy_timeout = {BUSY_MILLISECONDS}",
        "foreign_keys = ON",
        "synchronous = NORMAL",
    ):
        connection.execute(f"PRAGMA {setting}")
    # What MySQL has by itself; blobs are checked where they lie.
    connection.create_function("sha2", 2, _sha256, deterministic=True)
    if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        connection.execute("PRAGMA journal_mode = WAL")


def _sha256(data: bytes, bits: int) -> str:
    if bits != SHA_BITS:
        raise ValueError(f"sha2 of {bits} bits")
    return hashlib.sha256(data).hexdigest()


def _begin_sqlite(connection: Connection) -> None:
    read_only = connection.get_execution_options().get("muster_read_only", False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")
