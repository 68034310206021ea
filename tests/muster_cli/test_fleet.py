from __future__ import annotations

import json

import pytest
from sqlalchemy import make_url
from typer.testing import CliRunner

from muster.errors import UserError
from muster_cli.commands import app
from muster_cli.fleet import _network

AWAY = "unix:///nowhere/docker.sock"


def test_an_engine_that_is_away_is_told_and_counts() -> None:
    listed = CliRunner().invoke(app, ["fleet", "list", AWAY, "--json"])
    assert listed.exit_code == 3
    assert json.loads(listed.stdout) == []
    assert "no such socket" in listed.stderr


def test_a_fleet_needs_a_database_that_is_no_file() -> None:
    refused = CliRunner().invoke(app, ["fleet", "up", AWAY, "--db", "sqlite:///muster.db"])
    assert isinstance(refused.exception, UserError)
    assert "needs a database server" in str(refused.exception)


@pytest.mark.parametrize(
    ("host", "engine", "asked", "network"),
    [
        ("db.example.org", "ssh://box", None, "bridge"),
        ("127.0.0.1", "local", None, "host"),
        ("127.0.0.1", "ssh://box", "host", "host"),
        ("db", "local", "muster_default", "muster_default"),
    ],
)
def test_the_network_leads_to_the_database(
    host: str, engine: str, asked: str | None, network: str
) -> None:
    assert _network(asked, make_url(f"mysql+pymysql://ann@{host}/muster"), engine) == network


def test_a_url_that_would_lead_to_another_machine_is_refused() -> None:
    with pytest.raises(UserError, match="--network host"):
        _network(None, make_url("mysql+pymysql://ann@localhost/muster"), "ssh://box")
