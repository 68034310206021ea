from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from typer.testing import CliRunner

from muster.logs import about
from muster_cli import console, main
from muster_cli.commands import app
from muster_cli.logs import Lines, Logged, Objects, hide

SECRET_URL = "mysql+pymysql://ann:s3cret:@db:3306/muster?ssl_key_password=s3cret&ssl_ca=ca.pem"


@pytest.fixture(autouse=True)
def untouched() -> Iterator[None]:
    """The logging of the tests, and the console, as they were before."""
    root, file = logging.getLogger(), console.progress.file
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], console.progress.file = handlers, file
    root.setLevel(level)


def logged(formatter: logging.Formatter, **options: Any) -> str:
    """What a handler with this formatter writes of one line."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    logger = logging.Logger("muster_worker.run")
    logger.addHandler(handler)
    logger.warning("trial %s failed at %s", 3, SECRET_URL, **options)
    return stream.getvalue()


def test_an_object_tells_time_level_logger_message_and_what_it_is_about() -> None:
    with about(study="s", worker=2), about(trial=3):
        (line,) = logged(Objects(slot=1)).splitlines()
    found = json.loads(line)
    assert datetime.fromisoformat(found.pop("time")).tzinfo is not None
    assert found == {
        "level": "WARNING",
        "logger": "muster_worker.run",
        "message": (
            "trial 3 failed at "
            "mysql+pymysql://ann:***@db:3306/muster?ssl_key_password=***&ssl_ca=ca.pem"
        ),
        "slot": 1, "study": "s", "worker": 2, "trial": 3,
    }  # fmt: skip


def test_what_a_line_was_about_is_forgotten_after_the_block() -> None:
    with about(study="s"):
        pass
    assert "study" not in json.loads(logged(Objects()))


@pytest.mark.parametrize("formatter", [Objects(), Lines("%(message)s")], ids=["json", "text"])
def test_a_traceback_shows_no_password_either(formatter: logging.Formatter) -> None:
    try:
        raise ValueError(SECRET_URL)
    except ValueError:
        said = logged(formatter, exc_info=True)
    assert "ValueError" in said
    assert "s3cret" not in said


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("mysql://u:a/b@h/d", "mysql://u:a/b@h/d"),
        ("mysql://u:p@h:1/d and mysql://v:q@h/d", "mysql://u:***@h:1/d and mysql://v:***@h/d"),
        ("http://127.0.0.1:8080/?token=t a@b", "http://127.0.0.1:8080/?token=t a@b"),
        ("trial 3 of study a:b@c", "trial 3 of study a:b@c"),
    ],
)
def test_only_what_looks_like_a_password_is_hidden(text: str, shown: str) -> None:
    assert hide(text) == shown


def test_a_console_that_is_logged_says_whole_lines() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    logger = logging.Logger("muster_cli")
    logger.addHandler(handler)
    console_file = Logged(logger, stream)
    for part in ("one ", "line\n\n", "two"):
        console_file.write(part)
    assert stream.getvalue() == "one line\n"
    assert not console_file.isatty()


def test_every_line_of_a_refused_command_is_an_object(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MUSTER_LOG_FORMAT", "json")
    monkeypatch.setenv("MUSTER_DB_URL", "mysql+pymysql://u:s3cret@127.0.0.1:1/d")
    monkeypatch.setattr("sys.argv", ["muster", "status"])
    monkeypatch.setattr("muster_cli.options.FIRST_SECONDS", 0.1)
    with pytest.raises(SystemExit):
        main.main()
    said = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [each["level"] for each in said] == ["ERROR"]
    assert "the database does not answer" in said[0]["message"]
    assert "s3cret" not in str(said)


def test_a_form_that_is_not_known_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUSTER_LOG_FORMAT", "xml")
    refused = CliRunner().invoke(app, ["status"])
    assert "MUSTER_LOG_FORMAT" in str(refused.exception)
