"""Who may take part: invited under an account of her own, listed, revoked.

The account is the server's and its password is kept nowhere; what muster keeps is a row in
muster_members, which no member can read. All of it needs an account that may create accounts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import (
    Connection,
    Engine,
    Executable,
    Row,
    case,
    delete,
    func,
    insert,
    select,
    update,
)

from muster.errors import MusterError, UserError
from muster_db import accounts, leases
from muster_db.clock import clock, now
from muster_db.engine import transact
from muster_db.grants import ROLES
from muster_db.records import inserted_id
from muster_db.tables import members, trials, workers
from muster_db.urls import show


@dataclass(frozen=True)
class Member:
    """An invitation. Times are naive UTC by the database's clock; None: never."""

    member_id: int
    name: str
    role: str
    study: str | None
    account: str
    invited_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True)
class Invited:
    """A new member with her password.

    is_ended_by_server: whether the server itself locks her account at its end; else muster does
    when somebody runs `muster members`.
    """

    member: Member
    password: str = field(repr=False)
    is_ended_by_server: bool


@dataclass(frozen=True)
class Presence:
    """What is seen of a member, or of an account without an invitation (member is None).

    addresses, devices: of her workers, the newest first. working: workers that have not left;
    running: trials they hold. seen_at: naive UTC, None where no worker ever joined.
    """

    account: str
    member: Member | None
    state: str
    addresses: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    seen_at: datetime | None = None
    working: int = 0
    running: int = 0


@dataclass(frozen=True)
class Revoked:
    """What became of it. sessions: those of hers that this account had no right to end."""

    released: int
    sessions: tuple[int, ...]


def invite(
    engine: Engine, name: str, *, role: str, study: str | None, seconds: float | None
) -> Invited:
    """Make an account for a member, with the rights of her role alone, by TLS alone.

    seconds: how long it lasts, None for ever. Raises UserError for a name that is taken or none,
    and where the database is no server or this account may not create accounts.
    """
    check_server(engine)
    if role not in ROLES:
        raise UserError(f"role {role!r} is unknown; use {' or '.join(ROLES)}")
    if re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,31}", name) is None:
        raise UserError(f"member {name!r}: take 1 to 32 small letters, digits, - and _")
    for old in _named(engine, name):
        if old.is_over:
            revoke(engine, name)
        else:
            raise UserError(
                f"{name} is a member already, until {old.expires_at or 'revoked'}; end that with "
                f"`muster revoke {name}` first, or invite under another name"
            )
    account, password = accounts.new_name(name), accounts.new_password()
    member = _note(engine, account, name=name, role=role, study=study, seconds=seconds)

    def make(connection: Connection) -> bool:
        accounts.create(connection, account, password=password, rights=ROLES[role]())
        end = member.expires_at
        return end is None or accounts.end_at(connection, account, end)

    try:
        return Invited(member, password, transact(engine, make))
    except MusterError:
        gone = delete(members).where(members.c.member_id == member.member_id)
        transact(engine, partial(_run, statement=gone))
        with suppress(MusterError):
            transact(engine, lambda connection: accounts.drop(connection, account))
        raise


def revoke(engine: Engine, name: str) -> Revoked:
    """End a membership: account, sessions and leases, at once. It may be repeated.

    Her trials go on elsewhere from their last checkpoints, and no attempt of theirs counts as
    failed. Raises UserError for an unknown name.
    """
    check_server(engine)
    known = _named(engine, name)
    if not known:
        raise UserError(f"there is no member {name!r}; see `muster members`")
    left: list[int] = []
    released = 0
    # More than one where two invited her at the same time.
    for row in known:
        left += transact(engine, partial(_shut_out, account=row.account))
        released += transact(engine, partial(_release, account=row.account))
        transact(engine, partial(accounts.drop, account=row.account))
        noted = update(members).where(members.c.member_id == row.member_id)
        transact(engine, partial(_run, statement=noted.values(revoked_at=clock())))
    return Revoked(released, tuple(left))


def end_expired(engine: Engine) -> list[str]:
    """Lock the accounts whose time is over, and release what they held; whose they were.

    The server does that by itself where its events run; this is for the others, and for what
    the account still held. Raises UserError where this account may not lock accounts.
    """
    due = select(members).where(
        members.c.revoked_at.is_(None), members.c.locked_at.is_(None), _is_over()
    )
    rows = transact(engine, lambda connection: connection.execute(due).all(), read_only=True)
    for row in rows:
        transact(engine, partial(_shut_out, account=row.account))
        transact(engine, partial(_release, account=row.account))
        noted = update(members).where(members.c.member_id == row.member_id)
        transact(engine, partial(_run, statement=noted.values(locked_at=clock())))
    return [row.name for row in rows]


def list_members(engine: Engine) -> list[Presence]:
    """All members that were ever invited, then the accounts that joined without."""
    state = case((members.c.revoked_at.is_not(None), "revoked"), (_is_over(), "expired"))
    invited = select(members, state.label("ended")).order_by(members.c.member_id)
    is_held = trials.c.state.in_((leases.RUNNING, leases.RESERVED))
    joined = (
        select(workers, func.count(case((is_held, 1))).label("running"))
        .outerjoin_from(workers, trials, workers.c.worker_id == trials.c.worker_id)
        .where(workers.c.account.is_not(None))
        .group_by(*workers.c)
        .order_by(workers.c.worker_id.desc())
    )

    def read(connection: Connection) -> list[Presence]:
        theirs: dict[str, list[Row[Any]]] = {}
        for row in connection.execute(joined):
            theirs.setdefault(row.account, []).append(row)
        listed = [
            _presence(row.account, theirs.pop(row.account, []), _member(row), row.ended)
            for row in connection.execute(invited)
        ]
        return listed + [_presence(account, rows) for account, rows in sorted(theirs.items())]

    return transact(engine, read, read_only=True)


def seconds_left(engine: Engine, expires_at: datetime) -> float:
    """Until then, by the database's clock; this machine's may be wrong."""
    return (expires_at - transact(engine, now, read_only=True)).total_seconds()


def check_server(engine: Engine) -> None:
    """Raise UserError where the database has no accounts."""
    if engine.dialect.name == "sqlite":
        raise UserError(
            f"{show(engine.url)}: members need a database server with accounts, and SQLite has "
            "none; put the search on MySQL or MariaDB (`muster db backup`, `muster db restore`)"
        )


def _presence(
    account: str,
    joined: Sequence[Row[Any]],
    member: Member | None = None,
    ended: str | None = None,
) -> Presence:
    return Presence(
        account=account,
        member=member,
        state=ended or ("active" if member else "not invited"),
        addresses=tuple(dict.fromkeys(row.address for row in joined if row.address)),
        devices=tuple(dict.fromkeys(f"{row.host}: {row.device}" for row in joined)),
        seen_at=max((row.seen_at for row in joined), default=None),
        working=sum(row.left_at is None for row in joined),
        running=sum(row.running for row in joined),
    )


def _note(
    engine: Engine, account: str, *, name: str, role: str, study: str | None, seconds: float | None
) -> Member:
    def verb(connection: Connection) -> Member:
        moment = now(connection).replace(microsecond=0)
        row: dict[str, Any] = {
            "name": name,
            "role": role,
            "study": study,
            "account": account,
            "invited_at": moment,
            "expires_at": None if seconds is None else moment + timedelta(seconds=seconds),
        }
        return Member(
            member_id=inserted_id(connection.execute(insert(members).values(row))),
            revoked_at=None,
            **row,
        )

    return transact(engine, verb)


def _named(engine: Engine, name: str) -> Sequence[Row[Any]]:
    """Invitations of that name which were not revoked, each with is_over."""
    query = select(members, _is_over().label("is_over")).where(
        members.c.name == name, members.c.revoked_at.is_(None)
    )
    query = query.order_by(members.c.member_id)
    return transact(engine, lambda connection: connection.execute(query).all(), read_only=True)


def _is_over() -> Any:
    return members.c.expires_at.is_not(None) & (members.c.expires_at <= clock())


def _member(row: Row[Any]) -> Member:
    return Member(**{name: getattr(row, name) for name in Member.__dataclass_fields__})


def _run(connection: Connection, statement: Executable) -> None:
    connection.execute(statement)


def _shut_out(connection: Connection, account: str) -> list[int]:
    """Let nobody in and nobody stay; in this order nobody comes back between the two."""
    accounts.lock(connection, account)
    return accounts.kill_sessions(connection, account)


def _release(connection: Connection, account: str) -> int:
    """Take the leases of the account's workers, who have left; how many trials."""
    hers = select(workers.c.worker_id).where(workers.c.account == account)
    released = leases.release_all(connection, connection.execute(hers).scalars().all())
    gone = update(workers).where(workers.c.account == account, workers.c.left_at.is_(None))
    connection.execute(gone.values(left_at=clock()))
    return released
