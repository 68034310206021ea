"""muster status: how far the studies are."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Annotated

import typer
from rich.live import Live
from rich.table import Table
from sqlalchemy import Engine

from muster_cli.console import print_json, results
from muster_cli.looking import WATCHING_PATIENCE_SECONDS, looks
from muster_cli.options import Db, Json, open_database, settings_for
from muster_db import trials
from muster_db.study import Study, list_studies, open_study
from muster_db.summary import StudySummary, summarise

WATCH_SECONDS = 2.0


def status(
    name: Annotated[str | None, typer.Argument(help="One study; all by default.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Keep it on the screen.")] = False,
    db: Db = None,
    json: Json = False,
) -> None:
    """Show how far the studies are.

    Releases what dead workers held, so that others go on with it.
    """
    engine = open_database(settings_for(db))
    trials.reap(engine)
    if json:
        print_json([summary.as_plain() for summary in _look(engine, name)])
    elif not watch:
        results.print(status_table(_look(engine, name)))
    else:
        _watch(engine, name)


def _watch(engine: Engine, name: str | None) -> None:
    """Keep the table on the screen until all is told; a pipe gets it anew with each change."""
    shown: list[StudySummary] = []
    watching = engine.execution_options(muster_patience=WATCHING_PATIENCE_SECONDS)
    screen = Live(console=results, refresh_per_second=4) if results.is_terminal else nullcontext()

    def look() -> list[StudySummary]:
        trials.reap(watching)
        return _look(watching, name)

    with screen as live:
        for summaries in looks(look, every_seconds=WATCH_SECONDS):
            if live is not None:
                live.update(status_table(summaries))
            elif summaries != shown:
                results.print(status_table(summaries))
                results.file.flush()
            shown = summaries
            if all(summary.progress.is_finished for summary in summaries):
                return


def status_table(summaries: list[StudySummary]) -> Table:
    """The figures of some studies, a row each."""
    table = Table(
        "study", "done", "complete", "pruned", "failed", "running", "waiting", "workers",
        "best", "best trial", box=None,
    )  # fmt: skip
    for each in summaries:
        table.add_row(
            each.name,
            f"{each.progress.told}/{each.progress.budget}",
            str(each.complete),
            str(each.pruned),
            str(each.failed),
            str(each.progress.running),
            str(each.progress.waiting),
            str(each.workers),
            "-" if each.best_value is None else f"{each.best_value:.4f}",
            "-" if each.best_number is None else str(each.best_number),
        )
    return table


def _look(engine: Engine, name: str | None) -> list[StudySummary]:
    studies: list[Study] = list_studies(engine) if name is None else [open_study(engine, name)]
    return [summarise(engine, study) for study in studies]
