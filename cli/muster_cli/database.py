"""muster db: the shared database's tables, backups and what to clear away."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from muster_cli.console import print_json, progress, results
from muster_cli.options import Db, Json, connect, open_database, settings_for
from muster_db import backup as backups
from muster_db import garbage, schema, urls
from muster_db import restore as restoring

app = typer.Typer(
    help="Make, upgrade, back up and clean the shared database.", no_args_is_help=True
)


@app.command()
def init(db: Db = None) -> None:
    """Make the tables. It may be repeated, and started on several machines at once."""
    engine = connect(settings_for(db))
    schema.initialise(engine)
    results.print(f"{urls.show(engine.url)}: tables are ready")


@app.command()
def upgrade(db: Db = None) -> None:
    """Bring older tables to this version."""
    init(db)


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(help="The file to write; it must not exist yet.")],
    db: Db = None,
) -> None:
    """Write the whole database to one file. Workers may go on meanwhile."""
    manifest = backups.back_up(open_database(settings_for(db)), file)
    if manifest.tables["studies"].rows == 0:
        progress.print("warning: there is no study in this database; is --db the right one?")
    results.print(f"{file}: {manifest}")


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(help="A file that `muster db backup` wrote.")],
    db: Db = None,
) -> None:
    """Put a backup into an empty database. Trials that ran go on there."""
    engine = connect(settings_for(db))
    manifest = restoring.restore(engine, file)
    results.print(f"{urls.show(engine.url)}: restored {manifest}")


@app.command()
def gc(
    datasets: Annotated[
        bool, typer.Option("--datasets", help="Also datasets that no study uses.")
    ] = False,
    db: Db = None,
    json: Json = False,
) -> None:
    """Remove what nothing refers to. It is spared for an hour after its last use."""
    collected = garbage.collect(open_database(settings_for(db)), unused_datasets=datasets)
    if json:
        print_json(asdict(collected))
        return
    results.print(str(collected))
