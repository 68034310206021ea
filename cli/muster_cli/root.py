"""The options before the command, which every assembly of commands has."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from muster_cli.console import configure_logging, opened


def new_app() -> typer.Typer:
    """An app with these options and no command yet."""
    app = typer.Typer(
        name="muster",
        help="Gather scattered machines into one search for time-series classifiers.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    app.callback()(_root)
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"muster {version('muster')}")
        raise typer.Exit


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
