"""A proxy on loopback, beside a database of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Engine

from databases import sqlite_with_tables
from muster_db.proxy.client import Remote
from muster_db.proxy.server import Door, serving

LOOPBACK = "127.0.0.1"
HERE = Door(LOOPBACK, 0)


def url_of(engine: Engine) -> str:
    """The engine's URL, password included."""
    return engine.url.render_as_string(hide_password=False)


@contextmanager
def proxied(folder: Path) -> Iterator[tuple[Engine, Remote]]:
    """An engine on an SQLite file in the folder, and a proxy of two connections to it."""
    engine = sqlite_with_tables(folder / "muster.db")
    with serving(url_of(engine), HERE, connections=2) as port:
        remote = Remote(f"grpc://{LOOPBACK}:{port}", patience_seconds=5.0)
        yield engine, remote
        remote.dispose()
    engine.dispose()
