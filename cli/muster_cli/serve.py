"""muster dashboard: the study in a browser."""

from __future__ import annotations

from typing import Annotated

import typer

from muster_cli.console import progress
from muster_cli.options import Db, database_url, open_database, settings_for


def dashboard(
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="Port to listen on.")] = 8080,
    db: Db = None,
) -> None:
    """Serve optuna-dashboard. It has no login: leave it on 127.0.0.1."""
    from muster_dashboard.app import serve  # noqa: PLC0415 - an extra of its own

    settings = settings_for(db)
    open_database(settings).dispose()
    progress.print(f"dashboard: http://{host}:{port}  (Ctrl-C ends it)")
    serve(database_url(settings), host=host, port=port)
