from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from muster.errors import UserError
from muster_cli.commands import app
from muster_dashboard.auth import Passwords, read_users


def call(*arguments: str, typed: str = "") -> Result:
    return CliRunner().invoke(app, ["dashboard", *arguments], input=typed)


def test_a_new_users_line_holds_the_password_hashed(tmp_path: Path) -> None:
    made = call("--new-user", "alice", "--role", "admin", typed="geheim\ngeheim\n")
    assert made.exit_code == 0, made.output
    line = made.stdout.splitlines()[-1]
    assert "geheim" not in made.output
    path = tmp_path / "users"
    path.write_text(f"{line}\n")
    person = Passwords(read_users(path)).check("alice", "geheim")
    assert person is not None
    assert person.is_admin


def test_a_user_of_no_role_or_no_name_is_refused() -> None:
    for arguments in (("--new-user", "a", "--role", "owner"), ("--new-user", "a:b")):
        assert isinstance(call(*arguments).exception, UserError)


def test_a_wrong_setting_is_named_before_anything_is_served(
    monkeypatch: pytest.MonkeyPatch, sqlite_url: str
) -> None:
    monkeypatch.setenv("MUSTER_DASHBOARD_LOGIN", "basic")
    refused = call("--db", sqlite_url).exception
    assert isinstance(refused, UserError)
    assert "MUSTER_DASHBOARD_USERS_FILE" in str(refused)
