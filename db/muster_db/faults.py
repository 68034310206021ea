"""What a driver's error means: to be retried, away, or the user's to mend."""

from __future__ import annotations

from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from muster.errors import (
    AccessDenied,
    DiskFull,
    MusterError,
    NotAllowed,
    Unavailable,
    UserError,
)
from muster_db.urls import show

# Codes of MySQL and MariaDB. Deadlocks and lock waits; the server gone, full, starting, stopping.
CONTENTION = frozenset({1020, 1205, 1213, 3572})
AWAY = frozenset({0, 1040, 1047, 1053, 1077, 1152, 1158, 1159, 1160, 1161, 1203, 1226, 1927})
CONNECTION = frozenset({2002, 2003, 2006, 2013, 2014, 2055, 4031})
DISK_FULL = frozenset({28, 1021, 1114})

DENIED = {
    1045: "the user name or the password is wrong; check both in the URL, and whether this "
    "account must use TLS (?ssl_ca=FILE). Who was revoked needs a new invitation",
    1698: "the user name or the password is wrong; check both in the URL",
    1862: "this account's password has expired; ask for a new invitation",
    3118: "this account is locked: the membership has ended; ask for a new invitation",
    4151: "this account is locked: the membership has ended; ask for a new invitation",
}
FORBIDDEN = dict.fromkeys(
    # A table or a column that the account's grants leave out.
    (1142, 1143),
    "this account may not do that: a viewer only reads, a worker neither makes studies nor "
    "changes tables, and an account of your own needs ALL on the database (docs/team.md)",
)
NO_TLS = 2026
PLAIN_REFUSED = 3159

MENDS = {
    1044: "this user may not use that database; grant it, or name another in the URL",
    1049: "there is no database of that name; create it, or correct the name in the URL",
    1227: "this user lacks a right on the server; see docs/team.md",
    NO_TLS: "the server does not speak TLS, which the URL or the invitation asks for; turn it on "
    "there, and check that host and port lead to the right server",
    PLAIN_REFUSED: "the server wants TLS; add ?ssl_ca=FILE with its CA's certificate to the URL",
    1290: "the server runs read-only; name the writable one in the URL",
    1836: "the server runs read-only; name the writable one in the URL",
    1146: "muster's tables are missing; run `muster db init`",
    1153: "max_allowed_packet is below 1 MiB on the server; raise it (see db/my.cnf)",
}
UNTRUSTED = "CERTIFICATE_VERIFY_FAILED"
# What OpenSSL says of a server's certificate, the most telling first.
CERTIFICATE_MENDS = {
    "not yet valid": "the server's certificate is not valid yet by this machine's clock; set "
    "the clock",
    "has expired": "the server's certificate has expired by this machine's clock; set the clock, "
    "or renew the certificate where the clock is right",
    "Hostname mismatch": "the server's certificate names another host; use a name that it has, "
    "or ssl_check_hostname=false where nobody else holds a certificate of its CA",
    "IP address mismatch": "the server's certificate names another address; use a name that it "
    "has, or ssl_check_hostname=false where nobody else holds a certificate of its CA",
    UNTRUSTED: "the server's certificate is not of the CA that the URL or the "
    "invitation names: another server answers there, or it has a new CA; ask for a new invitation",
}
SQLITE_MENDS = {
    "unable to open database file": "the file cannot be opened; check its folder and rights",
    "readonly database": "the file is read-only; check its rights and its folder's",
    "file is not a database": "the file is not an SQLite database; name another",
    "malformed": "the file is damaged; restore a backup",
    "no such table": "muster's tables are missing; run `muster db init`",
}


def code_of(error: SQLAlchemyError) -> int | None:
    """The server's own number of an error, None where there is none."""
    if not isinstance(error, DBAPIError) or error.orig is None or not error.orig.args:
        return None
    first = error.orig.args[0]
    return first if isinstance(first, int) else None


def is_passing(error: SQLAlchemyError) -> bool:
    """Whether the same transaction may succeed a moment later."""
    if isinstance(error, PoolTimeout):
        return True
    if not isinstance(error, DBAPIError):
        return False
    text = str(error.orig)
    # The driver reports it as a host that it cannot reach.
    if UNTRUSTED in text:
        return False
    if "database is locked" in text or "database table is locked" in text:
        return True
    code = code_of(error)
    return error.connection_invalidated or code in CONTENTION | AWAY | CONNECTION


def explain(error: SQLAlchemyError, url: URL) -> MusterError:
    """The error in one line that says what, where and how to mend it, without the password."""
    place = show(url)
    if is_passing(error):
        return Unavailable(
            f"{place}: the database does not answer ({_cause(error)}); "
            "check that it runs and that its host and port are right"
        )
    code = code_of(error)
    text = str(error.orig) if isinstance(error, DBAPIError) else str(error)
    if code in DISK_FULL or "disk is full" in text or "disk I/O error" in text:
        return DiskFull(f"{place}: the database's disk is full; make room, then go on")
    for kind, mends in ((AccessDenied, DENIED), (NotAllowed, FORBIDDEN), (UserError, MENDS)):
        if code in mends:
            return kind(f"{place}: {mends[code]}")
    for sign, mend in (CERTIFICATE_MENDS | SQLITE_MENDS).items():
        if sign in text:
            return UserError(f"{place}: {mend}")
    return MusterError(f"{place}: {_cause(error)}")


def _cause(error: SQLAlchemyError) -> str:
    if isinstance(error, PoolTimeout):
        return "all of this process's connections are in use"
    if isinstance(error, DBAPIError) and error.orig is not None:
        return str(error.orig.args[-1]) if error.orig.args else type(error.orig).__name__
    return str(error)
