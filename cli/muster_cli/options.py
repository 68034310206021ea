"""Options that several commands share, and what they open."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import Engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from muster.errors import UserError
from muster.settings import Settings, load_settings
from muster_db import engine as engines
from muster_db import schema

# A command that finds nobody at the URL says so soon; one that is at work waits longer.
FIRST_SECONDS = 5.0

Db = Annotated[
    str | None,
    typer.Option("--db", help="The shared database's URL.  [MUSTER_DB_URL; sqlite:///muster.db]"),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]


def settings_for(db: str | None) -> Settings:
    """Settings of the environment, with --db over MUSTER_DB_URL."""
    settings = load_settings()
    return settings.model_copy(update={"db_url": db}) if db else settings


def database_url(settings: Settings) -> str:
    """The URL with the password out of MUSTER_DB_PASSWORD_FILE where it holds none itself."""
    try:
        url = make_url(settings.db_url)
    except (ArgumentError, ValueError) as error:
        raise UserError(
            "the database URL cannot be read; write sqlite:///muster.db or "
            "mysql+pymysql://user:password@host:3306/name; in a password %40 for @, %2F for /, "
            "%3A for : and %23 for #"
        ) from error
    if settings.db_password_file is not None and url.password is None:
        url = url.set(password=_read_password(settings.db_password_file))
    return url.render_as_string(hide_password=False)


def open_database(settings: Settings) -> Engine:
    """Connect to a database whose tables are there and of this version.

    The embedded default needs no set-up of its own: a missing SQLite file gets its tables here.
    """
    engine = engines.connect(database_url(settings))
    first = engine.execution_options(muster_patience=FIRST_SECONDS)
    if engine.dialect.name == "sqlite":
        schema.initialise(first)
    else:
        schema.check(first)
    return engine


def _read_password(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise UserError(f"MUSTER_DB_PASSWORD_FILE: {path}: {error.strerror}") from error
