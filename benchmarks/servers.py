"""A MariaDB or MySQL server of one's own: a temporary folder, a free port, no settings."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pymysql

PASSWORD = "pass-of-the-tests"
READY_SECONDS = 60.0
SERVER_NAMES = ("mariadbd", "mysqld")
SEARCHED = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])


def server_binary() -> str | None:
    """Where the server's program is, None where none is installed."""
    for name in SERVER_NAMES:
        if (found := shutil.which(name, path=SEARCHED)) is not None:
            return found
    return None


class Server:
    """Starts, stops and restarts one server; its port and data stay the same.

    options: further ones for the server's command line.
    """

    def __init__(self, folder: Path, *, options: Sequence[str] = ()) -> None:
        binary = server_binary()
        if binary is None:
            raise FileNotFoundError("no mariadbd or mysqld on this machine")
        self._binary = binary
        self._folder = folder
        self._options = options
        # A server that root starts wants to run as its own user, who must reach the folder.
        self._user = "mysql" if os.getuid() == 0 else getpass.getuser()
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()

    def install(self) -> None:
        """Make the data folder, with one user and no anonymous ones, and start."""
        data = self._folder / "data"
        data.mkdir()
        if os.getuid() == 0:
            for path in (self._folder, data):
                shutil.chown(path, self._user)
            temporary = Path(tempfile.gettempdir())
            for parent in self._folder.parents:
                if temporary in parent.parents:
                    parent.chmod(parent.stat().st_mode | 0o011)
        facts = ["--no-defaults", f"--datadir={data}", f"--user={self._user}"]
        if (install := shutil.which("mariadb-install-db", path=SEARCHED)) is not None:
            as_root = "--auth-root-authentication-method=normal"
            command = [install, *facts, "--skip-test-db", as_root]
        else:
            command = [self._binary, *facts, "--initialize-insecure"]
        made = subprocess.run(command, check=False, capture_output=True, text=True)
        if made.returncode != 0:
            raise RuntimeError(
                f"{command[0]} ended with {made.returncode}: {made.stdout}{made.stderr}"
            )
        self.start()
        with self.connect(password="") as connection, connection.cursor() as cursor:
            for host in ("localhost", socket.gethostname()):
                cursor.execute("DROP USER IF EXISTS ''@%s", (host,))
            cursor.execute(f"CREATE USER 'muster'@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'")
            cursor.execute("GRANT ALL ON `muster%`.* TO 'muster'@'127.0.0.1'")

    def start(self) -> None:
        """Start the server and wait until it answers."""
        log = (self._folder / "server.log").open("ab")
        with log:
            self._process = subprocess.Popen(
                [
                    self._binary,
                    "--no-defaults",
                    f"--datadir={self._folder / 'data'}",
                    f"--socket={self._folder / 'socket'}",
                    f"--pid-file={self._folder / 'pid'}",
                    f"--port={self.port}",
                    f"--user={self._user}",
                    "--bind-address=127.0.0.1",
                    "--skip-name-resolve",
                    "--innodb-buffer-pool-size=32M",
                    "--innodb-flush-log-at-trx-commit=2",
                    *self._options,
                ],
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            if _answers(self.port):
                return
            time.sleep(0.05)
        raise RuntimeError((self._folder / "server.log").read_text(errors="replace")[-4000:])

    def stop(self) -> None:
        """Stop the server and wait until it is gone."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=READY_SECONDS)
            self._process = None

    def kill(self) -> None:
        """Kill the server, as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(timeout=READY_SECONDS)
            self._process = None

    def connect(self, *, password: str) -> pymysql.Connection[pymysql.cursors.Cursor]:
        """A connection as root through the socket."""
        return pymysql.connect(
            unix_socket=str(self._folder / "socket"), user="root", password=password
        )

    def counter(self, name: str) -> int:
        """One of the server's own counters, by its name in SHOW GLOBAL STATUS."""
        with self.connect(password="") as connection, connection.cursor() as cursor:
            cursor.execute("SHOW GLOBAL STATUS LIKE %s", (name,))
            row = cursor.fetchone()
            return int(row[1]) if row else 0

    def cpu_seconds(self) -> float:
        """Processor time that the server has taken since it started; 0 where /proc is missing."""
        process = self._process
        facts = None if process is None else Path(f"/proc/{process.pid}/stat")
        if facts is None or not facts.exists():
            return 0.0
        # The program's name, in brackets, may hold spaces; the times of user and system follow.
        fields = facts.read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def make_database(self, name: str) -> str:
        """Make an empty database and return its URL."""
        with self.connect(password="") as connection, connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE `{name}`")
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Drop a database."""
        with self.connect(password="") as connection, connection.cursor() as cursor:
            cursor.execute(f"DROP DATABASE `{name}`")

    def url(self, name: str, *, password: str = PASSWORD) -> str:
        """The URL of a database on this server."""
        return f"mysql+pymysql://muster:{password}@127.0.0.1:{self.port}/{name}"


@contextmanager
def own_server(*, options: Sequence[str] = ()) -> Iterator[Server]:
    """A server in a temporary folder, within the block."""
    with tempfile.TemporaryDirectory(prefix="muster-benchmark-") as folder:
        server = Server(Path(folder), options=options)
        server.install()
        try:
            yield server
        finally:
            server.stop()


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            return len(connection.recv(4)) > 0
    except OSError:
        return False
