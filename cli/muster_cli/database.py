"""muster db: the shared database's tables, backups and what to clear away."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import Engine

from muster.errors import UserError
from muster_cli.console import print_json, results
from muster_cli.options import Db, Json, database_url, settings_for
from muster_db import backup as backups
from muster_db import engine as engines
from muster_db import garbage, schema
from muster_db import restore as restoring

app = typer.Typer(
    help="Make, upgrade, back up and clean the shared database.", no_args_is_help=True
)


@app.command()
def init(db: Db = None) -> None:
    """Make the tables; safe to repeat and to start on several machines at once."""
    engine = engines.connect(database_url(settings_for(db)))
    schema.initialise(engine)
    results.print(f"{engine.url.render_as_string(hide_password=True)}: tables are ready")


@app.command()
def upgrade(db: Db = None) -> None:
    """Bring the tables of an older muster to this version."""
    init(db)


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(help="The file to write; it must not exist yet.")],
    db: Db = None,
) -> None:
    """Write all studies, trials, datasets and blobs to one file, while workers go on."""
    manifest = backups.back_up(_open_existing(db), file)
    results.print(f"{file}: {manifest}")


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(help="A file that `muster db backup` wrote.")],
    db: Db = None,
) -> None:
    """Put a backup into an empty database, SQLite or MySQL; running trials resume there."""
    engine = engines.connect(database_url(settings_for(db)))
    manifest = restoring.restore(engine, file)
    results.print(f"{engine.url.render_as_string(hide_password=True)}: restored {manifest}")


@app.command()
def gc(
    datasets: Annotated[
        bool, typer.Option("--datasets", help="Also datasets that no study uses.")
    ] = False,
    db: Db = None,
    json: Json = False,
) -> None:
    """Remove blobs and artifacts that nothing refers to and that are over an hour old."""
    collected = garbage.collect(_open_existing(db), unused_datasets=datasets)
    if json:
        print_json(asdict(collected))
        return
    results.print(str(collected))


def _open_existing(db: str | None) -> Engine:
    """The database with its tables; a missing SQLite file is not made by looking at it."""
    engine = engines.connect(database_url(settings_for(db)))
    file = engine.url.database
    if engine.dialect.name == "sqlite" and file is not None and not Path(file).exists():
        raise UserError(f"{file}: there is no such database; name one with --db or MUSTER_DB_URL")
    schema.check(engine)
    return engine
