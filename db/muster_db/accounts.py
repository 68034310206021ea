"""Accounts of members on the server: made, locked, dropped. Needs an account that may do so.

MySQL and MariaDB commit each of these statements at once, so each may be repeated.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from muster.errors import UserError
from muster_db.faults import code_of

# The server's own codes: there is no such session any more; this account may not do that.
NO_SESSION = 1094
NO_RIGHT = frozenset({1044, 1095, 1142, 1227})
# Looks at the date that often: an event that was due while the server was down is not lost.
LOOK_MINUTES = 5


def new_name(member: str) -> str:
    """An account's name that no other invitation of the server has."""
    return f"{member[:20]}_{secrets.token_hex(4)}"


def new_password() -> str:
    """192 random bits, with what servers that check passwords ask for."""
    return f"{secrets.token_urlsafe(24)}-Aa1"


def create(
    connection: Connection, account: str, *, password: str, rights: Mapping[str, str]
) -> None:
    """Make the account with just these rights, by table. It may come from anywhere, by TLS."""
    drop(connection, account)
    connection.execute(
        text(f"CREATE USER {_quoted(account)} IDENTIFIED BY :password REQUIRE SSL"),
        {"password": password},
    )
    quote = connection.dialect.identifier_preparer.quote_identifier
    database = quote(str(connection.engine.url.database))
    for table, granted in rights.items():
        connection.execute(
            text(f"GRANT {granted} ON {database}.{quote(table)} TO {_quoted(account)}")
        )


def end_at(connection: Connection, account: str, moment: datetime) -> bool:
    """Have the server lock the account from then on; whether it will, by its own settings.

    moment: naive UTC.
    """
    connection.execute(text("SET time_zone = '+00:00'"))
    lock_it = (
        f"CREATE EVENT {_event(account)} ON SCHEDULE EVERY {LOOK_MINUTES} MINUTE STARTS :moment "
        f"DO ALTER USER IF EXISTS {_quoted(account)} ACCOUNT LOCK"
    )
    if not _may(connection, lock_it, moment=moment.isoformat(" ", "seconds")):
        return False
    return str(connection.execute(text("SELECT @@event_scheduler")).scalar()) in ("ON", "1")


def lock(connection: Connection, account: str) -> None:
    """Let nobody log in any more; sessions go on."""
    connection.execute(text(f"ALTER USER IF EXISTS {_quoted(account)} ACCOUNT LOCK"))


def drop(connection: Connection, account: str) -> None:
    """Remove the account and what was to become of it; sessions go on."""
    _may(connection, f"DROP EVENT IF EXISTS {_event(account)}")
    connection.execute(text(f"DROP USER IF EXISTS {_quoted(account)}"))


def kill_sessions(connection: Connection, account: str) -> list[int]:
    """End the account's sessions; returns those that this account may not end."""
    query = text("SELECT id FROM information_schema.processlist WHERE user = :account")
    sessions = connection.execute(query, {"account": account}).scalars().all()
    return [
        int(session)
        for session in sessions
        if not _may(connection, "KILL CONNECTION :session", session=session)
    ]


def _may(connection: Connection, statement: str, **values: Any) -> bool:
    """Run a statement; False where this account has no right to it."""
    try:
        connection.execute(text(statement), values)
    except DBAPIError as error:
        if code_of(error) in NO_RIGHT:
            return False
        if code_of(error) != NO_SESSION:
            raise
    return True


def _quoted(account: str) -> str:
    """The account as SQL takes it, from any host."""
    return f"'{_checked(account)}'@'%'"


def _event(account: str) -> str:
    return f"`muster_end_{_checked(account)}`"


def _checked(account: str) -> str:
    # It stands in statements that take no parameters for names.
    if re.fullmatch(r"[a-z0-9_-]{1,32}", account) is None:
        raise UserError(f"account {account!r}: a name has small letters, digits, - and _ only")
    return account
