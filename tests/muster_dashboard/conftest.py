"""A search in full swing that the dashboard's tests share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from dashboards import Opened, open_dashboard
from databases import sqlite_with_tables
from muster_dashboard.settings import Access
from shows import Show, make_show


@pytest.fixture(scope="session")
def show_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The database of the show."""
    return f"sqlite:///{tmp_path_factory.mktemp('show')}/muster.db"


@pytest.fixture(scope="session")
def show_engine(show_url: str) -> Iterator[Engine]:
    """An engine on it; its tables are there."""
    engine = sqlite_with_tables(Path(show_url.removeprefix("sqlite:///")))
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def show(show_engine: Engine) -> Show:
    """Trials of each kind; tests change nothing of it but notes."""
    return make_show(show_engine)


@pytest.fixture(scope="session")
def dashboard(show_url: str, show: Show) -> Opened:
    """One dashboard over it, for all tests that need no other settings."""
    return open_dashboard(show_url)


@pytest.fixture(scope="session")
def opened(show_url: str, show: Show) -> Callable[..., Opened]:
    """Opens a dashboard with these settings."""
    return lambda **access: open_dashboard(show_url, Access(**access))
