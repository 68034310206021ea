"""Where a proxy listens, and who may speak to it."""

from __future__ import annotations

import importlib
import ipaddress
import os
from typing import Any, Final

from muster.errors import UserError

PORT: Final = 13_000
LEAST_TOKEN_CHARACTERS: Final = 16


def grpc() -> Any:
    """The module of gRPC; raises UserError where it is not installed."""
    # Its core writes to stderr on its own, what the errors say as well.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        return importlib.import_module("grpc")
    except ModuleNotFoundError as error:
        raise UserError("a proxy needs gRPC on both sides: pip install 'muster[proxy]'") from error


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches that host."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def parse_listen(text: str) -> tuple[str, int]:
    """Host and port of HOST:PORT or [IPv6]:PORT, port 0 for any that is free."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isdecimal() or int(port) > 65_535:
        raise UserError(f"--listen {text}: write HOST:PORT, like 127.0.0.1:{PORT}")
    return host, int(port)


def check_token(token: str, *, place: str) -> str:
    """The token; raises UserError, which does not show it, where it cannot be one."""
    if not token.isascii() or not token.isprintable() or " " in token:
        raise UserError(f"{place}: a token is made of printable ASCII characters without spaces")
    if len(token) < LEAST_TOKEN_CHARACTERS:
        raise UserError(
            f"{place}: a token has {LEAST_TOKEN_CHARACTERS} characters or more; make one with "
            "`openssl rand -hex 32`"
        )
    return token
