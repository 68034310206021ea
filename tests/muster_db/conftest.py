"""Fixtures of the database's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from muster_db import schema
from muster_db.engine import connect


@pytest.fixture
def lite(tmp_path: Path) -> Iterator[Engine]:
    """An engine on an initialised SQLite file."""
    connected = connect(f"sqlite:///{tmp_path / 'lite.db'}")
    schema.initialise(connected)
    yield connected
    connected.dispose()
