"""How people get in, as settings say it."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

from muster.errors import UserError
from muster.settings import Settings

WEEK_SECONDS: Final = 7 * 24 * 3600.0


@dataclass(frozen=True)
class Access:
    """login: token (links that work once), basic (a users file) or proxy (a header).

    address: where browsers reach the dashboard, None where that is where it listens.
    """

    login: Literal["token", "basic", "proxy"] = "token"
    address: str | None = None
    session_seconds: float = WEEK_SECONDS
    key_file: Path | None = None
    users_file: Path | None = None
    proxy_header: str | None = None
    proxy_networks: tuple[str, ...] = ()
    admins: frozenset[str] = frozenset()
    metrics_token: str | None = None

    @property
    def origin(self) -> str | None:
        """Scheme, host and port of the address, as a browser's Origin header has them."""
        if self.address is None:
            return None
        parts = urlsplit(self.address)
        return f"{parts.scheme}://{parts.netloc}".lower()


# Links that work once, and nothing else.
ACCESS: Final = Access()


def access_of(settings: Settings) -> Access:
    """Raises UserError that names every setting that is missing or wrong, at once."""
    problems = []
    address = settings.dashboard_url
    if address is not None and (
        urlsplit(address).scheme not in ("http", "https") or not urlsplit(address).netloc
    ):
        problems.append(
            f"MUSTER_DASHBOARD_URL: {address!r} is not http:// or https:// with a host"
        )
    if settings.dashboard_login == "basic" and settings.dashboard_users_file is None:
        problems.append("MUSTER_DASHBOARD_LOGIN=basic needs MUSTER_DASHBOARD_USERS_FILE")
    networks = _names(settings.dashboard_proxy_address)
    if settings.dashboard_login == "proxy":
        if not settings.dashboard_proxy_header:
            problems.append("MUSTER_DASHBOARD_LOGIN=proxy needs MUSTER_DASHBOARD_PROXY_HEADER")
        if not networks:
            problems.append("MUSTER_DASHBOARD_LOGIN=proxy needs MUSTER_DASHBOARD_PROXY_ADDRESS")
    problems += [
        f"MUSTER_DASHBOARD_PROXY_ADDRESS: {each!r} is neither an address nor a network"
        for each in networks
        if not _is_network(each)
    ]
    if problems:
        raise UserError("bad settings of the dashboard; mend:\n  " + "\n  ".join(problems))
    return Access(
        login=settings.dashboard_login,
        address=address,
        session_seconds=settings.dashboard_session_seconds,
        key_file=settings.dashboard_key_file,
        users_file=settings.dashboard_users_file,
        proxy_header=settings.dashboard_proxy_header,
        proxy_networks=networks,
        admins=frozenset(_names(settings.dashboard_admins)),
        metrics_token=_secret(settings.dashboard_metrics_token_file),
    )


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(each.strip() for each in (text or "").split(",") if each.strip())


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def _secret(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"MUSTER_DASHBOARD_METRICS_TOKEN_FILE: {path}: {error}") from error
    if not token:
        raise UserError(f"MUSTER_DASHBOARD_METRICS_TOKEN_FILE: {path}: it is empty")
    return token
