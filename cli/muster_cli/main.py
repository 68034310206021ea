"""The muster command: assembles the parts and turns errors into one message and an exit code."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
from importlib.metadata import version
from typing import Annotated

import typer

from muster.errors import MusterError, UserError
from muster_cli import data, database, ensemble, run, serve, status, study, worker
from muster_cli.console import configure_logging, progress
from muster_cli.options import opened

# What the operating system refuses and the user can mend.
MORE_ROOM = "make room, then run the command again"
REFUSALS = {
    errno.ENOSPC: MORE_ROOM,
    errno.EDQUOT: MORE_ROOM,
    errno.EACCES: "mend its rights or name another place",
    errno.EROFS: "name a place that you may write to",
}

app = typer.Typer(
    name="muster",
    help="Gather scattered machines into one search for time-series classifiers.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("run")(run.run)
app.command("worker")(worker.worker)
app.command("status")(status.status)
app.command("ensemble")(ensemble.ensemble)
app.command("export")(ensemble.export)
app.command("predict")(ensemble.predict)
app.command("dashboard")(serve.dashboard)
app.add_typer(database.app, name="db")
app.add_typer(data.app, name="data")
app.add_typer(study.app, name="study")


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"muster {version('muster')}")
        raise typer.Exit


@app.callback()
def _root(
    context: typer.Context,
    debug: Annotated[
        bool, typer.Option("--debug", help="Log everything, show tracebacks.")
    ] = False,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    configure_logging(debug=debug)
    context.call_on_close(opened.close)


def main() -> None:
    """Run the command line. Exit codes: 0 done, 1 our fault, 2 input, 3 unavailable, 130/143."""
    try:
        app()
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


def _say(message: str) -> None:
    # Where stderr is a file on a full disk, the exit code still says what happened.
    with contextlib.suppress(OSError):
        progress.print(f"muster: {message}", soft_wrap=True)
