"""The database's clock, in SQL that each server understands."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, DateTime, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement


class clock(FunctionElement[datetime]):
    """UTC now plus so many seconds, naive, by the database; whole=True cuts the fraction off.

    Optuna's columns hold whole seconds on MySQL, which would round a fraction up: a trial would
    start in the future.
    """

    type = DateTime()
    inherit_cache = False

    def __init__(self, seconds: float = 0.0, *, whole: bool = False) -> None:
        super().__init__()
        self.microseconds = round(seconds * 1_000_000)
        self.whole = whole


@compiles(clock, "sqlite")
def _sqlite(element: clock, compiler: SQLCompiler, **options: Any) -> str:
    second = "%S" if element.whole else "%f"
    fraction = "000000" if element.whole else "000"
    dot = "." if element.whole else ""
    offset = f"{element.microseconds / 1_000_000:+.6f} seconds"
    return f"strftime('%Y-%m-%d %H:%M:{second}{dot}{fraction}', 'now', '{offset}')"


@compiles(clock, "mysql")
@compiles(clock, "mariadb")
def _mysql(element: clock, compiler: SQLCompiler, **options: Any) -> str:
    digits = "" if element.whole else "6"
    if not element.microseconds:
        return f"UTC_TIMESTAMP({digits})"
    return f"(UTC_TIMESTAMP({digits}) + INTERVAL {element.microseconds} MICROSECOND)"


def now(connection: Connection) -> datetime:
    """Naive UTC time by the database's clock."""
    moment: datetime = connection.execute(select(clock())).scalar_one()
    return moment
