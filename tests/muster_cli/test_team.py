from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from muster.errors import MusterError, UserError
from muster.settings import Settings
from muster_cli.commands import app
from muster_cli.durations import in_words, seconds_of
from muster_cli.going_on import without_password
from muster_cli.invitation import settings_at
from muster_db import schema, tokens
from muster_db.engine import connect
from muster_db.tokens import Token

TOKEN = tokens.write(
    Token(
        host="127.0.0.1", port=1, database="muster", user="alice", password="swordfish", ca="",
        is_host_checked=False, member="alice", role="worker",
    )
)  # fmt: skip


@pytest.fixture
def lite(tmp_path: Path) -> str:
    """The URL of an initialised SQLite file."""
    url = f"sqlite:///{tmp_path / 'muster.db'}"
    engine = connect(url)
    schema.initialise(engine)
    engine.dispose()
    return url


def call(*words: str, **variables: str | None) -> Result:
    runner = CliRunner(env={"MUSTER_DB_URL": None, "MUSTER_JOIN": None, **variables})
    return runner.invoke(app, words)


@pytest.mark.parametrize("words", [("invite", "alice"), ("revoke", "alice"), ("members",)])
def test_members_need_a_server(lite: str, words: tuple[str, ...]) -> None:
    called = call(*words, "--db", lite)
    said = f"{called.exception} {called.stderr}"
    assert "SQLite has none; put the search on MySQL or MariaDB" in said


BAD = {
    "a token that was altered": ("status", "--join", TOKEN[:-9] + "A" * 9),
    "a token that is cut off": ("status", "--join", TOKEN[:60]),
    "an SQLite file instead of its URL": ("status", "--join", "FILE"),
    "a token without a certificate": ("status", "--join", TOKEN),
    "a time that is none": ("invite", "alice", "--expires", "soon"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_one_message_without_the_secret(lite: str, what: str) -> None:
    file = lite.removeprefix("sqlite:///")
    called = call(*(file if word == "FILE" else word for word in BAD[what]))
    assert isinstance(called.exception, UserError)
    said = f"{called.exception}{called.stderr}"
    assert "swordfish" not in said
    assert TOKEN[30:50] not in said


def test_two_places_at_once_are_refused() -> None:
    called = call("status", MUSTER_DB_URL="sqlite:///x.db", MUSTER_JOIN=TOKEN)
    assert "unset one of them" in str(called.exception)


def test_a_url_may_come_from_standard_input(lite: str) -> None:
    called = CliRunner().invoke(app, ["status", "--db", "-"], input=f"{lite}\n")
    assert called.exit_code == 0, called.output


def test_a_token_takes_the_place_of_the_url() -> None:
    settings = settings_at(Settings(), TOKEN)
    assert settings.join == TOKEN
    assert "swordfish" not in repr(settings)
    assert TOKEN not in repr(settings)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems keep a command line as it was")
def test_a_token_on_the_command_line_is_hidden_from_ps() -> None:
    code = (
        "import sys; from muster_cli.arguments import hide_argument; hide_argument(sys.argv[1]);"
        "print(open('/proc/self/cmdline').read())"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code, TOKEN, "--slots"], check=True, capture_output=True, text=True
    ).stdout
    assert TOKEN not in shown
    assert "*" * len(TOKEN) in shown
    assert "--slots" in shown


def test_a_command_line_is_repeated_without_the_token() -> None:
    assert without_password(f"--join={TOKEN}") == "--join=***"


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("1.5h", 5400), ("7d", 604800)])
def test_spans_of_time_are_read(text: str, seconds: float) -> None:
    assert seconds_of(text, option="--expires") == seconds
    assert seconds_of(in_words(seconds), option="--expires") == seconds


def test_what_is_no_span_of_time_names_the_option() -> None:
    with pytest.raises(MusterError, match="--expires"):
        seconds_of("soon", option="--expires")
