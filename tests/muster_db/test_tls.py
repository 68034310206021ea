"""What is said of servers that cannot be trusted, by a server that only greets."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from threading import Thread

import pytest
from sqlalchemy import select

from certificates import Authority, Signed
from muster.errors import UserError
from muster_db.engine import connect, transact

# Of the protocol's capabilities: 4.1, transactions, plugins for logging in, secure connections.
PLAIN = 0x0000_0200 | 0x0000_2000 | 0x0008_0000 | 0x0000_8000
TLS = 0x0000_0800
SSL_REQUEST_BYTES = 36
DAY = timedelta(days=1)


def greeting(capabilities: int) -> bytes:
    """A server's first packet (protocol 10)."""
    body = b"\x0a" + b"8.4.0\x00" + struct.pack("<I", 1) + b"saltsalt\x00"
    body += struct.pack("<H", capabilities & 0xFFFF) + b"\x2d" + struct.pack("<H", 2)
    body += struct.pack("<H", capabilities >> 16) + bytes([21]) + bytes(10)
    body += b"saltsaltsalt\x00" + b"mysql_native_password\x00"
    return struct.pack("<I", len(body))[:3] + b"\x00" + body


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[Signed | None], int]]:
    """Starts a server for one connection, with that certificate or without TLS; its port."""
    listeners, threads = [], []

    def start(signed: Signed | None) -> int:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)
        threads.append(Thread(target=_greet, args=(listener, signed, tmp_path)))
        threads[-1].start()
        port: int = listener.getsockname()[1]
        return port

    yield start
    for each in listeners:
        each.close()
    for thread in threads:
        thread.join(timeout=10)


def _greet(listener: socket.socket, signed: Signed | None, folder: Path) -> None:
    connection, _ = listener.accept()
    with connection, suppress(OSError):
        connection.settimeout(10)
        connection.sendall(greeting(PLAIN | (TLS if signed else 0)))
        connection.recv(SSL_REQUEST_BYTES)
        if signed is not None:
            file = folder / "server.pem"
            file.write_text(signed.certificate + signed.key)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(file)
            context.wrap_socket(connection, server_side=True).close()


@pytest.mark.parametrize(
    ("begins", "ends", "said"),
    [
        (DAY, 2 * DAY, "not valid yet by this machine's clock; set the clock"),
        (-2 * DAY, -DAY, "expired by this machine's clock; set the clock"),
    ],
    ids=["slow clock", "fast clock"],
)
def test_a_wrong_clock_is_told_as_such(
    serve: Callable[[Signed | None], int],
    tmp_path: Path,
    begins: timedelta,
    ends: timedelta,
    said: str,
) -> None:
    authority = Authority()
    assert said in refusal(serve(authority.sign(begins=begins, ends=ends)), authority, tmp_path)


def test_a_server_without_tls_is_told_and_gets_no_password(
    serve: Callable[[Signed | None], int], tmp_path: Path
) -> None:
    assert "does not speak TLS" in refusal(serve(None), Authority(), tmp_path)


def test_a_ca_file_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "none.pem").write_text("none")
    for path, said in (
        (tmp_path / "absent.pem", "No such file"),
        (tmp_path / "none.pem", "no cert"),
    ):
        with pytest.raises(UserError, match=said) as refused:
            connect(f"mysql+pymysql://me:swordfish@127.0.0.1/x?ssl_ca={path}")
        assert str(path) in str(refused.value)
        assert "swordfish" not in str(refused.value)


def refusal(port: int, authority: Authority, folder: Path) -> str:
    """What is said when this server is asked for anything."""
    (folder / "ca.pem").write_text(authority.pem)
    url = f"mysql+pymysql://me:swordfish@127.0.0.1:{port}/muster?ssl_ca={folder / 'ca.pem'}"
    with pytest.raises(UserError) as refused:
        transact(connect(url, patience_seconds=0.0), lambda it: it.execute(select(1)))
    assert "swordfish" not in str(refused.value)
    return str(refused.value)
