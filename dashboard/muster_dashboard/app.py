"""optuna-dashboard over the shared database, as one WSGI application and its server."""

from __future__ import annotations

import json
import logging
import socket
import time
from collections.abc import Iterable
from http import HTTPStatus
from threading import Lock
from typing import TYPE_CHECKING, Any

from gunicorn.app.base import BaseApplication
from optuna.storages import RDBStorage
from optuna_dashboard import wsgi
from sqlalchemy import Engine, select

from muster.errors import MusterError, UserError
from muster_db import engine as engines
from muster_db import trials

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

log = logging.getLogger(__name__)

HEALTH = "/healthz"
# Longer than the 5 s after which the health check of the compose file gives up is of no use.
HEALTH_PATIENCE_SECONDS = 2.0
REAP_SECONDS = 10.0
READING = frozenset({"GET", "HEAD", "OPTIONS"})
# One process, since the trials are cached by process; threads, since one page asks for much.
THREADS = 8


def create_app(storage_url: str) -> WSGIApplication:
    """The dashboard of every study in a database whose tables are there.

    It only shows: a study renamed, deleted or told from the browser would no longer agree with
    its contract and its budget, so whatever would write is refused. GET /healthz answers 200
    while the database answers, 503 otherwise. Trials whose lease has run out are released on the
    way, every REAP_SECONDS at most: a health check does, too, so nobody has to look.
    """
    engine = engines.connect(storage_url, patience_seconds=HEALTH_PATIENCE_SECONDS)
    storage = RDBStorage(storage_url, skip_compatibility_check=True, skip_table_creation=True)
    pages: WSGIApplication = wsgi(storage)

    reap = _Reaper(engine)

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        reap()
        if environ["PATH_INFO"] == HEALTH:
            return _say(start_response, *_health(engine))
        if environ["REQUEST_METHOD"] not in READING:
            reason = "this dashboard only shows; change a study with the `muster study` commands"
            return _say(start_response, HTTPStatus.FORBIDDEN, {"reason": reason})
        return pages(environ, start_response)

    return app


def serve(storage_url: str, *, host: str = "127.0.0.1", port: int = 8080) -> None:
    """Serve the dashboard until SIGTERM or SIGINT. Raises UserError where the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as error:
            raise UserError(
                f"cannot listen on {host}:{port} ({error}); name another with --host or --port"
            ) from error
    _Server(storage_url, bind=f"[{host}]:{port}" if ":" in host else f"{host}:{port}").run()


class _Server(BaseApplication):  # type: ignore[misc]  # gunicorn ships no types
    """gunicorn with one process of threads; the application is made after the fork."""

    def __init__(self, storage_url: str, *, bind: str) -> None:
        self._storage_url = storage_url
        self._bind = bind
        super().__init__()

    def load_config(self) -> None:
        for key, value in {
            "bind": self._bind,
            "worker_class": "gthread",
            "workers": 1,
            "threads": THREADS,
            "graceful_timeout": 5,
            "loglevel": "warning",
            "control_socket_disable": True,
        }.items():
            self.cfg.set(key, value)

    def load(self) -> WSGIApplication:
        return create_app(self._storage_url)


class _Reaper:
    """Releases what has run out, from whichever request comes when it is time."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._reaped_at: float | None = None
        self._lock = Lock()

    def __call__(self) -> None:
        now = time.monotonic()
        with self._lock:
            if self._reaped_at is not None and now - self._reaped_at < REAP_SECONDS:
                return
            self._reaped_at = now
        try:
            trials.reap(self._engine)
        except MusterError as error:
            # The page or the health check says it better.
            log.debug("nothing was released: %s", error)


def _health(engine: Engine) -> tuple[HTTPStatus, dict[str, Any]]:
    try:
        engines.transact(engine, lambda connection: connection.execute(select(1)).scalar_one())
    except MusterError as error:
        return HTTPStatus.SERVICE_UNAVAILABLE, {"status": "unavailable", "reason": str(error)}
    return HTTPStatus.OK, {"status": "ok"}


def _say(
    start_response: StartResponse, status: HTTPStatus, content: dict[str, Any]
) -> Iterable[bytes]:
    body = json.dumps(content).encode()
    start_response(
        f"{status.value} {status.phrase}",
        [
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
        ],
    )
    return [body]
