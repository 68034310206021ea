"""Whether a database suits a search: read once, each reading judged by a function of its own."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Final

from sqlalchemy import Connection, Engine, text

from muster.findings import Finding, graded
from muster_db.clock import now
from muster_db.engine import transact
from muster_db.tables import OPTUNA, metadata

MEBIBYTE: Final = 2**20
OLDEST: Final = {"mysql": (8, 0), "mariadb": (10, 6), "sqlite": (3, 35)}
# Rows of blobs take half a MiB, and twice that where each byte is escaped.
LEAST_PACKET: Final = MEBIBYTE
GOOD_PACKET: Final = 4 * MEBIBYTE
WORKERS_CONNECTIONS: Final = 2
SPARE_CONNECTIONS: Final = 10
FAR_SECONDS, TOO_FAR_SECONDS = 0.2, 2.0
LATE_SECONDS, TOO_LATE_SECONDS = 5.0, 300.0
HERE: Final = frozenset({"", "localhost", "127.0.0.1", "::1"})
WORKS: Final = frozenset({"SELECT", "INSERT", "UPDATE"})


@dataclass(frozen=True)
class Server:
    """What a MySQL or MariaDB server says of itself and of this connection.

    collations: of the database, under "", and of each of our tables. grants: lines of SHOW GRANTS.
    cipher: empty without TLS.
    """

    database: str
    cipher: str
    max_connections: int
    used_connections: int
    packet_bytes: int
    collations: Mapping[str, str]
    grants: Sequence[str]


def read_version(engine: Engine) -> tuple[str, str]:
    """The kind of server, mysql, mariadb or sqlite, and its version. Raises Unavailable."""

    def verb(connection: Connection) -> tuple[str, str]:
        if connection.dialect.name == "sqlite":
            return "sqlite", str(connection.execute(text("SELECT sqlite_version()")).scalar_one())
        version = str(connection.execute(text("SELECT VERSION()")).scalar_one())
        return ("mariadb" if "mariadb" in version.lower() else "mysql"), version

    return transact(engine, verb, read_only=True)


def read_skew(
    engine: Engine, *, here: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> float:
    """Seconds by which this machine's clock is ahead of the database's. Raises Unavailable."""

    def verb(connection: Connection) -> float:
        before = here()
        there = now(connection).replace(tzinfo=UTC)
        after = here()
        return ((before - there) + (after - there)).total_seconds() / 2

    return transact(engine, verb, read_only=True)


def read_server(engine: Engine) -> Server:
    """Ask the server. Raises Unavailable, and UserError where it refuses."""
    ours = sorted({*OPTUNA.tables, *metadata.tables})

    def verb(connection: Connection) -> Server:
        def status(name: str) -> str:
            row = connection.execute(text("SHOW STATUS LIKE :name"), {"name": name}).one_or_none()
            return "" if row is None else str(row[1])

        packet, most, database, collation = connection.execute(
            text(
                "SELECT @@max_allowed_packet, @@max_connections, DATABASE(), @@collation_database"
            )
        ).one()
        tables = connection.execute(
            text(
                "SELECT table_name, table_collation FROM information_schema.tables "
                "WHERE table_schema = DATABASE() AND table_collation IS NOT NULL"
            )
        )
        return Server(
            database=database,
            cipher=status("Ssl_cipher"),
            max_connections=int(most),
            used_connections=int(status("Threads_connected") or 0),
            packet_bytes=int(packet),
            collations={"": collation, **{name: each for name, each in tables if name in ours}},
            grants=[str(row[0]) for row in connection.execute(text("SHOW GRANTS"))],
        )

    return transact(engine, verb, read_only=True)


def judge_server(server: Server, *, host: str) -> list[Finding]:
    """All that is judged of a server. host: as the URL names it."""
    return [
        judge_tls(server.cipher, host=host),
        judge_grants(server.grants, database=server.database, tables=list(server.collations)[1:]),
        judge_collations(server.collations),
        judge_packet(server.packet_bytes),
        judge_connections(server.max_connections, server.used_connections),
    ]


def judge_version(kind: str, version: str) -> Finding:
    """Servers of before these versions lack what the verbs are made of."""
    # MariaDB 10.x says 5.5.5- first to clients that know no more than one digit.
    numbers = re.findall(r"\d+", version.removeprefix("5.5.5-"))[:2]
    oldest = OLDEST[kind]
    return graded(
        "server",
        f"{kind} {version}",
        fail=tuple(map(int, numbers)) < oldest,
        mend=f"upgrade the server to {kind} {oldest[0]}.{oldest[1]} or newer",
    )


def judge_skew(seconds: float) -> Finding:
    """Leases go by the database's clock alone; certificates and invitations by both."""
    late = abs(seconds)
    side = "ahead of" if seconds > 0 else "behind"
    return graded(
        "clock",
        f"{late:.1f} s {side} the database's" if late >= 0.05 else "the database's",
        fail=late >= TOO_LATE_SECONDS,
        warn=late >= LATE_SECONDS,
        mend="set the clocks by NTP (timedatectl set-ntp true) here and at the server; "
        "certificates and invitations are judged by them",
    )


def judge_round_trip(seconds: float) -> Finding:
    """Training does not wait for the database, but each verb takes some of these."""
    return graded(
        "round trip",
        f"{seconds * 1000:.2g} ms",
        fail=seconds >= TOO_FAR_SECONDS,
        warn=seconds >= FAR_SECONDS,
        mend="train longer trials, or put the database nearer; where a neighbour is quicker, look "
        "at this machine's network or VPN",
    )


def judge_tls(cipher: str, *, host: str) -> Finding:
    """A password and data that cross a network belong into TLS."""
    is_here = host in HERE
    found = cipher or ("none, and the database is on this machine" if is_here else "none")
    return graded(
        "TLS",
        found,
        fail=False,
        warn=not cipher and not is_here,
        mend="attach with a join token, which brings the CA's certificate, or add "
        "?ssl_ca=ca.pem to the URL; within one machine's containers it may stay so",
    )


def judge_packet(size: int) -> Finding:
    """A row of a blob has to fit into a packet."""
    return graded(
        "max_allowed_packet",
        f"{size / MEBIBYTE:.3g} MiB",
        fail=size < LEAST_PACKET,
        warn=size < GOOD_PACKET,
        mend="set max_allowed_packet = 16M in the server's [mysqld] section (db/my.cnf)",
    )


def judge_connections(most: int, used: int) -> Finding:
    """A worker takes two."""
    free = most - used
    return graded(
        "connections",
        f"{used} of {most} in use",
        fail=free < WORKERS_CONNECTIONS,
        warn=free < SPARE_CONNECTIONS,
        mend="raise max_connections in the server's [mysqld] section, or end clients that idle; "
        "a worker takes two",
    )


def judge_collations(collations: Mapping[str, str]) -> Finding:
    """A case-insensitive collation takes one name for another."""
    tables = [name for name, each in collations.items() if name and not _tells_apart(each)]
    default = collations.get("", "")
    if tables:
        found = f"{', '.join(tables)}: case-insensitive"
        mend = (
            "stop the workers, then for each of these run ALTER TABLE ... CONVERT TO "
            "CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
        )
    else:
        found = default
        mend = "ALTER DATABASE ... CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
    return graded("collation", found, fail=bool(tables), warn=not _tells_apart(default), mend=mend)


def judge_grants(grants: Sequence[str], *, database: str, tables: Sequence[str]) -> Finding:
    """What this user may do: look, run trials, or make the tables as well.

    tables: those that must be open to it; without any, nobody has made them yet.
    """
    known = [found for line in grants if (found := _scope(line)) is not None]
    if any(_is_role(line) for line in grants):
        return Finding("grants", "ok", "through a role, which is not looked into")

    def may(right: str, table: str) -> bool:
        return any(
            right in rights and fnmatchcase(database, base) and of in ("*", table)
            for rights, base, of in known
        )

    if may("CREATE", "*") and may("ALTER", "*") and may("DELETE", "*"):
        return Finding("grants", "ok", "all of the database: may make and upgrade its tables")
    if not tables or not may("SELECT", "trials"):
        return graded("grants", "may not read the tables", fail=True, mend=_grant_all(database))
    if all(may(right, "trials") for right in WORKS):
        return Finding("grants", "ok", "a worker's: may run trials, and not change the tables")
    return Finding(
        "grants", "warn", "a viewer's: may look, and not run trials",
        "to train here, ask for an invitation as a worker",
    )  # fmt: skip


def _grant_all(database: str) -> str:
    return f"as the server's admin: GRANT ALL ON `{database}`.* TO this user, or invite it"


def _is_role(line: str) -> bool:
    return line.startswith("GRANT ") and " ON " not in line


def _scope(line: str) -> tuple[set[str], str, str] | None:
    """Rights of a line of SHOW GRANTS, the databases as a pattern of fnmatch, and the table."""
    pattern = r"GRANT (.+?) ON (`[^`]+`|\*)\.(`[^`]+`|\*) TO "
    if (found := re.match(pattern, line)) is None:
        return None
    rights = {each.strip() for each in re.sub(r"\([^)]*\)", "", found[1]).split(",")}
    if "ALL PRIVILEGES" in rights:
        rights |= {"SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "ALTER"}
    return rights, _pattern(found[2].strip("`")), found[3].strip("`")


def _pattern(database: str) -> str:
    """SQL's wildcards as fnmatch's: % and _, where no backslash stands before them."""
    parts = {"%": "*", "_": "?", r"\%": "%", r"\_": "_"}
    return re.sub(r"\\?[%_]", lambda match: parts[match[0]], database)


def _tells_apart(collation: str) -> bool:
    return collation.endswith(("_bin", "_cs"))
