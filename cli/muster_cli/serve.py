"""muster dashboard: the studies in a browser."""

from __future__ import annotations

from typing import Annotated

import typer

from muster.errors import UserError
from muster_cli.console import progress, results
from muster_cli.options import Db, database_url, open_database, settings_for


def dashboard(
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="Port to listen on.")] = 8080,
    new_user: Annotated[
        str | None,
        typer.Option(
            "--new-user", help="Print a line for the users file instead; asks for the password."
        ),
    ] = None,
    role: Annotated[
        str, typer.Option("--role", help="What the new user may do: viewer or admin.")
    ] = "viewer",
    db: Db = None,
) -> None:
    """Serve the studies to browsers, behind a login.

    Prints a link that lets one person in as an admin, and the next one once it has been used.
    """
    from muster_dashboard import auth  # noqa: PLC0415 - an extra of its own
    from muster_dashboard.server import serve  # noqa: PLC0415
    from muster_dashboard.settings import access_of  # noqa: PLC0415

    if new_user is not None:
        if not auth.is_role(role):
            raise UserError(f"role {role!r} is unknown; use viewer or admin")
        if not new_user or ":" in new_user or not new_user.isprintable():
            raise UserError(f"{new_user!r} cannot be a user's name: it must have no colon")
        password = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
        results.print(f"{new_user}:{role}:{auth.hash_password(password)}")
        return
    settings = settings_for(db)
    access = access_of(settings)
    open_database(settings).dispose()
    serve(database_url(settings), access, host=host, port=port, announce=_announce)


def _announce(link: str) -> None:
    progress.print(f"dashboard: {link}")
