"""muster db: the tables of the shared database."""

from __future__ import annotations

import typer

from muster_cli.console import results
from muster_cli.options import Db, database_url, settings_for
from muster_db import engine as engines
from muster_db import schema

app = typer.Typer(help="Make and upgrade the shared database's tables.", no_args_is_help=True)


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
