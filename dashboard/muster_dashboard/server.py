"""The application behind gunicorn: one process, one port."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from gunicorn.app.base import BaseApplication

from muster.errors import UserError
from muster_dashboard.app import create_app
from muster_dashboard.settings import ACCESS, Access

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

# One process, since what readers share and who is let in is kept in it; threads, since one page
# asks for much.
THREADS: Final = 16


def serve(
    storage_url: str,
    access: Access = ACCESS,
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    announce: Callable[[str], None] = lambda link: None,
) -> None:
    """Serve the dashboard until SIGTERM or SIGINT. Raises UserError where the port is taken.

    announce: is told the address to open, and a new one each time an admin's link is used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as error:
            raise UserError(
                f"cannot listen on {host}:{port} ({error}); name another with --host or --port"
            ) from error
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    _Server(storage_url, access, place, announce).run()


class _Server(BaseApplication):  # type: ignore[misc]  # gunicorn ships no types
    """gunicorn with one process of threads; the application is made after the fork."""

    def __init__(
        self, storage_url: str, access: Access, place: str, announce: Callable[[str], None]
    ) -> None:
        self._storage_url = storage_url
        self._access = access
        self._place = place
        self._announce = announce
        super().__init__()

    def load_config(self) -> None:
        for key, value in {
            "bind": self._place,
            "worker_class": "gthread",
            "workers": 1,
            "threads": THREADS,
            "graceful_timeout": 5,
            # Longer than the pages wait before they ask again.
            "keepalive": 10,
            "loglevel": "warning",
            "control_socket_disable": True,
        }.items():
            self.cfg.set(key, value)

    def load(self) -> WSGIApplication:
        # A process that takes the place of a dead one must not revive links that were used.
        shown = self._place.replace("0.0.0.0", "127.0.0.1").replace("[::]", "[::1]")
        return create_app(
            self._storage_url, self._access, address=f"http://{shown}", announce=self._announce
        )
