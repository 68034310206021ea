"""The muster command: assembles the parts and turns errors into one message and an exit code."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys

import typer

from muster.errors import MusterError, UserError
from muster_cli import bundle
from muster_cli.console import complain
from muster_cli.root import new_app

# What the operating system refuses and the user can mend.
MORE_ROOM = "make room, then run the command again"
REFUSALS = {
    errno.ENOSPC: MORE_ROOM,
    errno.EDQUOT: MORE_ROOM,
    errno.EACCES: "mend its rights or name another place",
    errno.EROFS: "name a place that you may write to",
}

# Those that need neither Optuna nor a database, and so start without them.
LIGHT = {"predict", "bundle"}


def main() -> None:
    """Run the command line. Exit codes: 0 done, 1 our fault, 2 input, 3 unavailable, 130/143.

    4: the database let this account in and no longer does.
    """
    try:
        _app()()
    except MusterError as error:
        if "--debug" in sys.argv:
            raise
        _say(str(error))
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader of stdout (head, say) has gone; nothing is left to say to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        if "--debug" in sys.argv or error.errno not in REFUSALS:
            raise
        _say(f"{error.filename or 'a file'}: {error.strerror}; {REFUSALS[error.errno]}")
        sys.exit(UserError.exit_code)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


def _app() -> typer.Typer:
    """The commands; for one that does without a database, those alone."""
    command = next((each for each in sys.argv[1:] if not each.startswith("-")), None)
    if command not in LIGHT:
        from muster_cli.commands import app  # noqa: PLC0415 - Optuna, SQLAlchemy

        return app
    app = new_app()
    app.command("predict")(bundle.predict)
    app.add_typer(bundle.app, name="bundle")
    return app


def _say(message: str) -> None:
    # Where stderr is a file on a full disk, the exit code still says what happened.
    with contextlib.suppress(OSError):
        complain(message)
