"""muster proxy: one server beside the database, for more workers than it has connections."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Annotated

import typer

from muster.errors import UserError
from muster_cli.console import progress
from muster_cli.live import estimating
from muster_cli.options import Db, database_url, open_database, settings_for
from muster_db import urls
from muster_db.proxy.address import PORT, parse_listen
from muster_worker.signals import stop_on_signals

LISTEN = f"127.0.0.1:{PORT}"


def proxy(
    listen: Annotated[str, typer.Option("--listen", help="Address and port.")] = LISTEN,
    connections: Annotated[
        int, typer.Option("--connections", min=1, help="To the database, for all workers.")
    ] = 8,
    token_file: Annotated[
        Path | None, typer.Option("--token-file", help="File of the token that workers bring.")
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option("--certificate", help="TLS certificate chain (PEM).")
    ] = None,
    key: Annotated[Path | None, typer.Option("--key", help="Its private key (PEM).")] = None,
    db: Db = None,
) -> None:
    """Serve many workers (--db grpc://HOST:PORT) from one place.

    For more of them than the database has connections. Beyond this machine it needs a token and
    TLS. Optuna's GrpcStorageProxy is served beside them.
    """
    from muster_db.proxy.server import OPTUNA_CONNECTIONS, Door, serving  # noqa: PLC0415 - an extra

    settings = settings_for(db)
    host, port = parse_listen(listen)
    token = _read(token_file, option="--token-file")
    door = Door(
        host,
        port,
        token=None if token is None else token.decode(errors="replace").strip(),
        certificate=_read(certificate, option="--certificate"),
        key=_read(key, option="--key"),
    )
    if certificate is not None and key is not None:
        _check_pair(certificate, key)
    engine = open_database(settings)
    place = urls.show(engine.url)
    with (
        stop_on_signals() as stop,
        serving(database_url(settings), door, connections=connections) as bound,
        # Workers that come through it cannot: they have no database to look at.
        estimating(engine, study=None, settings=settings, stop=stop, is_voted_after=True),
    ):
        progress.print(
            f"proxy: {door.scheme}://{urls.bracketed(host)}:{bound} for {place}, "
            f"{connections + OPTUNA_CONNECTIONS} connections at most (Ctrl-C ends it)"
        )
        stop.wait()
    progress.print("proxy: done")


def _check_pair(certificate: Path, key: Path) -> None:
    """Raise UserError where they are no PEM, or do not belong together."""
    try:
        # The empty password: a key that has one would ask for it at the terminal.
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(
            certificate, key, password=""
        )
    except ssl.SSLError as error:
        raise UserError(
            f"--certificate {certificate} --key {key}: {error.reason or error}; name a PEM "
            "certificate and its own key, without a password"
        ) from error


def _read(path: Path | None, *, option: str) -> bytes | None:
    if path is None:
        return None
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{option}: {path}: {error.strerror}") from error
