"""muster status: how far the studies are."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Annotated

import typer
from rich.live import Live
from sqlalchemy import Engine

from muster_cli.console import print_json, results
from muster_cli.looking import WATCHING_PATIENCE_SECONDS, looks
from muster_cli.options import Db, Json, open_database, settings_for
from muster_cli.views import status_table, view
from muster_db import trials
from muster_db.overview import Overview, look
from muster_db.study import Study, list_studies, open_study
from muster_db.summary import StudySummary

WATCH_SECONDS = 2.0


def status(
    name: Annotated[str | None, typer.Argument(help="One study; all by default.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Keep it on the screen.")] = False,
    db: Db = None,
    json: Json = False,
) -> None:
    """Show how far the studies are, by architecture and by worker.

    Releases what dead workers held, so that others go on with it.
    """
    engine = open_database(settings_for(db))
    trials.reap(engine)
    if json:
        print_json([each.as_plain() for each in _look(engine, name)])
    elif not watch:
        results.print(view(_look(engine, name)))
    else:
        _watch(engine, name)


def _watch(engine: Engine, name: str | None) -> None:
    """Keep the figures on the screen until all is told; a pipe gets a row a study's change."""
    shown: list[StudySummary] = []
    watching = engine.execution_options(muster_patience=WATCHING_PATIENCE_SECONDS)
    screen = Live(console=results, refresh_per_second=4) if results.is_terminal else nullcontext()

    def look_again() -> list[Overview]:
        trials.reap(watching)
        return _look(watching, name)

    with screen as live:
        for overviews in looks(look_again, every_seconds=WATCH_SECONDS):
            summaries = [each.summary for each in overviews]
            if live is not None:
                live.update(view(overviews))
            elif summaries != shown:
                results.print(status_table(overviews))
                results.file.flush()
            shown = summaries
            if all(summary.progress.is_finished for summary in summaries):
                return


def _look(engine: Engine, name: str | None) -> list[Overview]:
    studies: list[Study] = list_studies(engine) if name is None else [open_study(engine, name)]
    return [look(engine, study) for study in studies]
