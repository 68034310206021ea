"""A TCP proxy that does to a connection what networks do: delay, cut, swallow."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock, Thread

PIECE = 65536
# Closing with this option set sends a reset instead of a farewell.
RESET = struct.pack("ii", 1, 0)


@dataclass(eq=False)
class _Link:
    """One connection; is_lost: its packets vanish in both directions, for good."""

    near: socket.socket
    far: socket.socket | None = None
    is_lost: bool = False
    ends: Lock = field(default_factory=Lock)

    def close(self, *, reset: bool = False) -> None:
        with self.ends:
            for each in (self.near, self.far):
                if each is None:
                    continue
                with contextlib.suppress(OSError):
                    if reset:
                        each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                    # Wakes the thread that reads from it; a close alone does not.
                    each.shutdown(socket.SHUT_RD)
                each.close()


class Proxy:
    """Forwards connections to a port of this machine until told otherwise.

    delay_seconds: how long each piece is held back. abandoned: connections in a black hole that
    the client has given up.
    """

    def __init__(self, target_port: int) -> None:
        self.delay_seconds = 0.0
        self.abandoned = 0
        self._target_port = target_port
        self._mode = "open"
        self._links: list[_Link] = []
        self._lock = Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        Thread(target=self._accept, name="proxy", daemon=True).start()

    def cut(self) -> None:
        """Reset every connection, and each new one at once."""
        with self._lock:
            self._mode = "cut"
            links, self._links = self._links, []
        for link in links:
            link.close(reset=True)

    def black_hole(self) -> None:
        """Let packets vanish: nothing is answered, refused or reset, new connections included."""
        with self._lock:
            self._mode = "black hole"
            for link in self._links:
                link.is_lost = True

    def restore(self) -> None:
        """Serve new connections again. What a black hole swallowed stays lost with its link."""
        with self._lock:
            self._mode = "open"

    def close(self) -> None:
        """Stop serving and close what is open."""
        # A close alone would leave the accepting thread asleep.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            link = _Link(near)
            with self._lock:
                mode = self._mode
                link.is_lost = mode == "black hole"
                if mode != "cut":
                    self._links.append(link)
            if mode == "cut":
                link.close(reset=True)
            elif mode == "open":
                Thread(target=self._serve, args=(link,), daemon=True).start()

    def _serve(self, link: _Link) -> None:
        try:
            link.far = socket.create_connection(("127.0.0.1", self._target_port), timeout=5)
        except OSError:
            self._drop(link, reset=True)
            return
        link.far.settimeout(None)
        Thread(target=self._pump, args=(link, link.far, link.near), daemon=True).start()
        self._pump(link, link.near, link.far)

    def _pump(self, link: _Link, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(PIECE):
                if self.delay_seconds:
                    time.sleep(self.delay_seconds)
                if not link.is_lost:
                    sink.sendall(piece)
        if not link.is_lost:
            self._drop(link)
        elif source is link.near:
            # Not even the end of a connection leaves a black hole: the server knows nothing.
            with self._lock:
                self.abandoned += 1

    def _drop(self, link: _Link, *, reset: bool = False) -> None:
        link.close(reset=reset)
        with self._lock, contextlib.suppress(ValueError):
            self._links.remove(link)


@contextmanager
def proxy_to(port: int) -> Iterator[Proxy]:
    """A proxy before that port of this machine, within the block."""
    proxy = Proxy(port)
    try:
        yield proxy
    finally:
        proxy.close()
