"""muster invite, members, revoke: who takes part."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from pydantic import SecretStr
from rich.table import Table
from sqlalchemy import URL, Engine
from sqlalchemy.exc import ArgumentError
from sqlalchemy.util import asbool

from muster.errors import MusterError, UserError
from muster.settings import Settings
from muster_cli.console import print_json, progress, results
from muster_cli.durations import seconds_of
from muster_cli.options import Db, Json, open_database, settings_for
from muster_db import members, tokens, urls
from muster_db.grants import ROLES
from muster_db.members import Invited, Presence
from muster_db.study import open_study
from muster_db.tokens import Token

NEVER = "never"
MYSQL_PORT = 3306

Name = Annotated[str, typer.Argument(help="The member's name.")]


def invite(
    name: Name,
    role: Annotated[str, typer.Option("--role", help=f"{' or '.join(ROLES)}.")] = "worker",
    expires: Annotated[
        str, typer.Option("--expires", help="How long it lasts: 8h, 7d, or never.")
    ] = "30d",
    study: Annotated[
        str | None, typer.Option("--study", help="The study that her workers serve; else all.")
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            "--address",
            help="HOST:PORT at which she reaches the database.  [MUSTER_ADDRESS; the URL's]",
        ),
    ] = None,
    db: Db = None,
    json: Json = False,
) -> None:
    """Make an account for a teammate, and print her join token.

    Whoever has the token can join: send it as you would a password.
    """
    settings = settings_for(db)
    engine = open_database(settings)
    seconds = None if expires == NEVER else seconds_of(expires, option="--expires")
    place = _place(engine, address, settings)
    authority = _authority(engine.url)
    if study is not None:
        open_study(engine, study)
    invited = members.invite(engine, name, role=role, study=study, seconds=seconds)
    token = tokens.write(_token(invited, engine, place, authority))
    if json:
        print_json(asdict(invited.member) | {"token": token} | _times(invited.member))
        return
    _explain(invited, place)
    print(token)


def revoke(name: Name, db: Db = None) -> None:
    """End a membership at once.

    Her account goes, her sessions end, her trials go on elsewhere.
    """
    engine = open_database(settings_for(db))
    revoked = members.revoke(engine, name)
    results.print(f"{name}: revoked, {revoked.released} trials released")
    if revoked.sessions:
        progress.print(
            "warning: this account may not end sessions (docs/team.md), so these stay open, "
            f"without a right to anything: {', '.join(map(str, revoked.sessions))}; end each with "
            "KILL, on AWS RDS with CALL mysql.rds_kill(ID)"
        )


def show_members(db: Db = None, json: Json = False) -> None:
    """Show who takes part, from where and with what."""
    engine = open_database(settings_for(db))
    members.check_server(engine)
    try:
        ended = members.end_expired(engine)
    except MusterError as error:
        progress.print(f"warning: memberships that have expired are not locked: {error}")
    else:
        for name in ended:
            progress.print(f"{name}: expired, locked")
    presences = members.list_members(engine)
    if json:
        print_json([_plain(each) for each in presences])
        return
    results.print(_table(presences))


def _token(invited: Invited, engine: Engine, place: tuple[str, int], authority: str) -> Token:
    member, url = invited.member, engine.url
    return Token(
        host=place[0],
        port=place[1],
        database=str(url.database),
        user=member.account,
        password=SecretStr(invited.password),
        ca=authority,
        is_host_checked=asbool(url.query.get("ssl_check_hostname", True)),
        member=member.name,
        role=member.role,
        study=member.study,
        expires_at=member.expires_at,
    )


def _explain(invited: Invited, place: tuple[str, int]) -> None:
    member = invited.member
    end = f"until {member.expires_at} UTC" if member.expires_at else "until revoked"
    progress.print(f"{member.name} may join as {member.role} {end}; the token is a secret:")
    progress.print(
        "  MUSTER_JOIN=TOKEN muster " + ("worker" if member.role == "worker" else "status")
    )
    if place[0].startswith(("127.", "localhost")):
        progress.print(
            f"note: the token leads to {place[0]}:{place[1]}, which is this machine, or the end "
            "of an SSH tunnel; for others name --address HOST:PORT (docs/team.md)"
        )
    if not invited.is_ended_by_server:
        progress.print(
            "warning: the server's event scheduler is off or closed to this account, so that her "
            "account is locked only when somebody runs `muster members`; set event_scheduler=ON"
        )


def _place(engine: Engine, address: str | None, settings: Settings) -> tuple[str, int]:
    """Where members reach the database."""
    wanted = address or settings.address
    if wanted is None:
        return str(engine.url.host), engine.url.port or MYSQL_PORT
    try:
        parsed = urls.parse(f"mysql+pymysql://{wanted}/x")
        if parsed.host and parsed.database == "x" and not parsed.username:
            return parsed.host, parsed.port or MYSQL_PORT
    except (ArgumentError, UserError):
        pass
    raise UserError(f"address {wanted!r}: write HOST:PORT, as in db.example.org:3306")


def _authority(url: URL) -> str:
    """The certificates that the admin's own URL trusts."""
    path = url.query.get("ssl_ca")
    if url.get_backend_name() != "sqlite" and not isinstance(path, str):
        raise UserError(
            f"{urls.show(url)}: members come by TLS alone, and an invitation carries the CA of "
            "the server's certificate: add ?ssl_ca=FILE to this URL (docs/team.md)"
        )
    return Path(str(path)).read_text(encoding="ascii") if path else ""


def _table(presences: list[Presence]) -> Table:
    table = Table(
        "member", "role", "state", "study", "from", "with", "workers", "running", "last seen",
        "expires", box=None,
    )  # fmt: skip
    for each in presences:
        member = each.member
        table.add_row(
            member.name if member else each.account,
            member.role if member else "-",
            each.state,
            (member.study if member else None) or "all",
            ", ".join(each.addresses) or "-",
            "; ".join(each.devices) or "-",
            str(each.working),
            str(each.running),
            _moment(each.seen_at),
            _moment(member.expires_at if member else None),
        )
    return table


def _moment(moment: datetime | None) -> str:
    return "-" if moment is None else f"{moment:%Y-%m-%d %H:%M} UTC"


def _times(record: object) -> dict[str, str]:
    """Its moments as ISO text; naive ones are UTC."""
    return {
        name: f"{value.isoformat()}Z"
        for name, value in vars(record).items()
        if isinstance(value, datetime)
    }


def _plain(presence: Presence) -> dict[str, object]:
    plain = asdict(presence) | _times(presence)
    if presence.member is not None:
        plain["member"] = asdict(presence.member) | _times(presence.member)
    return plain
