"""The database's clock, in SQL that each server understands."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, DateTime, Integer, literal, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement


class clock(FunctionElement[datetime]):
    """UTC now plus so many seconds, naive, by the database.

    The seconds are a parameter, so that a statement with them is compiled once.
    """

    type = DateTime()
    inherit_cache = True

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__(*([literal(round(seconds * 1_000_000), Integer)] if seconds else []))


class whole_clock(FunctionElement[datetime]):
    """UTC now without the fraction of its second, naive, by the database.

    Optuna's columns hold whole seconds on MySQL, which would round a fraction up: a trial would
    start in the future.
    """

    type = DateTime()
    inherit_cache = True


@compiles(clock, "sqlite")
def _sqlite(element: clock, compiler: SQLCompiler, **options: Any) -> str:
    # SQLite's own fraction has three digits, and a time is read with six.
    moment = "'%Y-%m-%d %H:%M:%f000', 'now'"
    if len(element.clauses):
        microseconds = compiler.process(element.clauses, **options)
        moment += f", printf('%+.6f seconds', {microseconds} / 1000000.0)"
    return f"strftime({moment})"


@compiles(clock, "mysql")
@compiles(clock, "mariadb")
def _mysql(element: clock, compiler: SQLCompiler, **options: Any) -> str:
    if not len(element.clauses):
        return "UTC_TIMESTAMP(6)"
    microseconds = compiler.process(element.clauses, **options)
    return f"(UTC_TIMESTAMP(6) + INTERVAL {microseconds} MICROSECOND)"


@compiles(whole_clock, "sqlite")
def _sqlite_whole(element: whole_clock, compiler: SQLCompiler, **options: Any) -> str:
    return "strftime('%Y-%m-%d %H:%M:%S.000000', 'now')"


@compiles(whole_clock, "mysql")
@compiles(whole_clock, "mariadb")
def _mysql_whole(element: whole_clock, compiler: SQLCompiler, **options: Any) -> str:
    return "UTC_TIMESTAMP()"


def now(connection: Connection) -> datetime:
    """Naive UTC time by the database's clock."""
    moment: datetime = connection.execute(select(clock())).scalar_one()
    return moment
