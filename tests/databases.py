"""Databases whose tables are there: a copied file, and one on the server that is emptied.

Migrations take a third of a second each time, an empty database is ready in a hundredth of it.
"""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from benchmarks.servers import Server
from pymysql.cursors import Cursor
from sqlalchemy import Engine

from muster_db import schema
from muster_db.engine import connect

COLUMNS = """SELECT table_name, ordinal_position, column_name, column_type, is_nullable,
    column_default, collation_name, column_key, extra
    FROM information_schema.columns WHERE table_schema = DATABASE() ORDER BY 1, 2"""
COUNTING = """SELECT table_name FROM information_schema.tables
    WHERE table_schema = DATABASE() AND auto_increment > 1"""

Rows = tuple[tuple[object, ...], ...]


def sqlite_with_tables(path: Path, *, patience_seconds: float = 30.0) -> Engine:
    """An engine on a new SQLite file that holds all tables and no rows."""
    path.write_bytes(_template())
    return connect(f"sqlite:///{path}", patience_seconds=patience_seconds)


@cache
def _template() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "template.db")
        engine = connect(f"sqlite:///{path}")
        schema.initialise(engine)
        # The last connection takes the write-ahead log into the file.
        engine.dispose()
        return path.read_bytes()


class Emptied:
    """One database on a server, whose tables stay from test to test and whose rows do not."""

    def __init__(self, server: Server, name: str) -> None:
        self._server = server
        self._name = name
        self._columns: Rows = ()
        # What the tables are made with: the versions that they are of.
        self._kept: dict[str, Rows] = {}

    def url(self) -> str:
        """The database's URL: all tables, no rows of any test, and each key counted from 1."""
        if not self._empty():
            self._make()
        return self._server.url(self._name)

    def _empty(self) -> bool:
        """Whether the tables were still as they had been made, and now are empty."""
        with self._server.connect(password="") as connection, connection.cursor() as cursor:
            if not self._columns or not cursor.execute("SHOW DATABASES LIKE %s", (self._name,)):
                return False
            connection.select_db(self._name)
            if _rows(cursor, COLUMNS) != self._columns or self._kept != {
                table: _rows(cursor, f"SELECT * FROM `{table}`") for table in self._kept
            }:
                return False
            cursor.execute("SET foreign_key_checks = 0")
            for table in sorted(self._tables() - set(self._kept)):
                cursor.execute(f"DELETE FROM `{table}`")
            for (table,) in _rows(cursor, COUNTING):
                cursor.execute(f"ALTER TABLE `{table}` AUTO_INCREMENT = 1")
            connection.commit()
        return True

    def _make(self) -> None:
        with self._server.connect(password="") as connection, connection.cursor() as cursor:
            cursor.execute(f"DROP DATABASE IF EXISTS `{self._name}`")
        engine = connect(self._server.make_database(self._name))
        schema.initialise(engine)
        engine.dispose()
        with self._server.connect(password="") as connection, connection.cursor() as cursor:
            connection.select_db(self._name)
            self._columns = _rows(cursor, COLUMNS)
            found = {table: _rows(cursor, f"SELECT * FROM `{table}`") for table in self._tables()}
        self._kept = {table: rows for table, rows in found.items() if rows}

    def _tables(self) -> set[str]:
        return {str(row[0]) for row in self._columns}


def _rows(cursor: Cursor, query: str) -> Rows:
    cursor.execute(query)
    return tuple(cursor.fetchall())
