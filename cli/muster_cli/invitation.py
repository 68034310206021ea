"""Join tokens on the command line: taken from where they are safe, and used until they end."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Timer

from sqlalchemy import Engine

from muster.errors import AccessDenied, MembershipEnded, UserError
from muster.settings import Settings
from muster_cli.arguments import hide_argument
from muster_cli.console import progress
from muster_db import members, tokens
from muster_db.database import Database
from muster_db.tokens import Token

STDIN = "-"
# So long before its end a worker gives its trial back, while it is still let in.
PARTING_SECONDS = 15.0
# More than a token with a large bundle of certificates.
MOST_CHARACTERS = 200_000


def settings_at(settings: Settings, given: str) -> Settings:
    """The settings for a database's URL or a join token, or for - or a file that holds one.

    Raises UserError for a token that is none.
    """
    if given == STDIN:
        return settings_at(settings, _from_stdin())
    if "://" not in given and not tokens.is_token(given) and Path(given).is_file():
        given = _from_file(Path(given))
    if not tokens.is_token(given):
        return settings.model_copy(update={"db_url": given, "join": None})
    if any(given in word for word in sys.argv):
        hide_argument(given)
        progress.print(
            "warning: a join token on the command line can be read by others on this machine "
            "until now, and the shell keeps it; give it by MUSTER_JOIN, by --join FILE, or by "
            "--join - from standard input"
        )
    tokens.read(given)
    return settings.model_copy(update={"join": given})


def token_of(settings: Settings) -> Token | None:
    """The invitation by which this process joins, if it does."""
    return None if settings.join is None else tokens.read(settings.join)


def refusal(error: AccessDenied, token: Token) -> AccessDenied:
    """What a member is told whose account the database does not take."""
    end = f", good until {token.expires_at} UTC" if token.expires_at else ""
    return AccessDenied(
        f"{token.host}:{token.port}: this invitation ({token.member}, {token.role}{end}) is not "
        "taken any more: it has run out, was revoked, or a newer one took its place; ask for "
        f"another: `muster invite {token.member}` ({error})"
    )


@contextmanager
def membership(engine: Database, settings: Settings, stop: Event) -> Iterator[None]:
    """Set stop shortly before the invitation's end, by the database's clock.

    Raises MembershipEnded then, when the block has ended, and where it is over already.
    """
    token = token_of(settings)
    if token is None or token.expires_at is None or not isinstance(engine, Engine):
        yield
        return
    left = members.seconds_left(engine, token.expires_at)
    if left <= 0:
        raise MembershipEnded(
            f"this invitation ended at {token.expires_at} UTC by the database's clock; ask for "
            f"another: `muster invite {token.member}`"
        )
    has_ended = Event()

    def end() -> None:
        has_ended.set()
        stop.set()

    timer = Timer(max(0.0, left - PARTING_SECONDS), end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
    if has_ended.is_set():
        raise MembershipEnded(
            f"this membership ends at {token.expires_at} UTC by the database's clock: what was "
            f"trained is stored, for others to go on with; to go on here: `muster invite "
            f"{token.member}`"
        )


def _from_stdin() -> str:
    if sys.stdin.isatty():
        return getpass.getpass("join token: ").strip()
    return sys.stdin.read(MOST_CHARACTERS).strip()


def _from_file(path: Path) -> str:
    with path.open("rb") as file:
        text = file.read(MOST_CHARACTERS).decode("latin-1").strip()
    if not tokens.is_token(text) and "://" not in text[:40]:
        raise UserError(
            f"{path}: holds neither a join token nor a URL; for an SQLite file write "
            f"sqlite:///{path}"
        )
    return text
