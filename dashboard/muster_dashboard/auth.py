"""Who is asking: a link that works once, a signed cookie, a password, or a proxy's word."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
import os
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Final, Literal, TypeGuard

from itsdangerous import BadData, URLSafeTimedSerializer
from werkzeug.security import check_password_hash, generate_password_hash
from werkzeug.wrappers import Request, Response

from muster.errors import UserError
from muster_dashboard.settings import Access

Role = Literal["viewer", "admin"]
COOKIE: Final = "muster"
KEY_BYTES: Final = 32
TOKEN_BYTES: Final = 32
LINK_SECONDS: Final = 24 * 3600.0
MOST_LINKS: Final = 100
MOST_LEFT: Final = 1000


@dataclass(frozen=True)
class Person:
    """Somebody who may look. session: of the cookie that says so, empty for other proofs."""

    name: str
    role: Role
    session: str = ""

    @property
    def is_admin(self) -> bool:
        """Whether they may act."""
        return self.role == "admin"


@dataclass(frozen=True)
class User:
    """A line of the users file. hashed: as werkzeug.security writes it."""

    name: str
    role: Role
    hashed: str


class Links:
    """Tokens that let somebody in once each; only their SHA-256 is kept."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = Lock()
        self._roles: dict[bytes, tuple[Role, float]] = {}

    def make(self, role: Role, *, seconds: float = float("inf")) -> str:
        """A new token; of too many unused ones that run out, the oldest stops working."""
        token = secrets.token_urlsafe(TOKEN_BYTES)
        with self._lock:
            now = self._now()
            self._roles = {key: each for key, each in self._roles.items() if each[1] > now}
            ending = [key for key, each in self._roles.items() if each[1] != float("inf")]
            if len(ending) >= MOST_LINKS:
                del self._roles[ending[0]]
            self._roles[_digest(token)] = (role, now + seconds)
        return token

    def redeem(self, token: str) -> Role | None:
        """The role that the token gives, and it gives no more; None for one that is none."""
        with self._lock:
            role, ends_at = self._roles.pop(_digest(token), (None, 0.0))
        return role if self._now() < ends_at else None


class Sessions:
    """Signed cookies: a name, a role and a number each, good for so many seconds."""

    def __init__(self, key: bytes, *, seconds: float) -> None:
        self.seconds = seconds
        self._signer = URLSafeTimedSerializer(
            key, salt="muster session", signer_kwargs={"digest_method": hashlib.sha256}
        )
        self._key = key
        self._left: dict[str, float] = {}

    def begin(self, name: str, role: Role) -> str:
        """A cookie's value."""
        return str(self._signer.dumps([name, role, secrets.token_urlsafe(12)]))

    def read(self, value: str) -> Person | None:
        """Whose cookie it is; None for one that is altered, too old or logged out."""
        try:
            content = self._signer.loads(value, max_age=int(self.seconds))
        except BadData:
            return None
        if not isinstance(content, list) or len(content) != 3 or not is_role(content[1]):
            return None
        person = Person(str(content[0]), content[1], str(content[2]))
        return None if person.session in self._left else person

    def end(self, person: Person) -> None:
        """Let the person's cookie count no more, also where it was copied."""
        now = time.monotonic()
        self._left = {each: at for each, at in self._left.items() if at > now}
        if person.session and len(self._left) < MOST_LEFT:
            self._left[person.session] = now + self.seconds

    def form_token(self, person: Person) -> str:
        """What this person's forms carry, so that no other site can send them."""
        text = f"form\0{person.name}\0{person.session}".encode()
        return hmac.new(self._key, text, hashlib.sha256).hexdigest()


class Passwords:
    """The users file; who was let in once is known again without the slow hash."""

    def __init__(self, users: Mapping[str, User]) -> None:
        self._users = users
        self._salt = secrets.token_bytes(KEY_BYTES)
        self._known: dict[bytes, str] = {}
        # As slow for a name that is unknown, so that names cannot be told by the clock.
        self._nobody = User("", "viewer", hash_password(secrets.token_urlsafe(8)))

    def check(self, name: str, password: str) -> Person | None:
        """The person of that name and password."""
        proof = hmac.new(self._salt, f"{name}\0{password}".encode(), hashlib.sha256).digest()
        user = self._users.get(name, self._nobody)
        if self._known.get(proof) != name:
            if not check_password_hash(user.hashed, password) or user is self._nobody:
                return None
            self._known[proof] = name
        return Person(user.name, user.role)


def is_role(text: object) -> TypeGuard[Role]:
    """Whether it is one of the two roles."""
    return text in ("viewer", "admin")


def hash_password(password: str) -> str:
    """What a users file holds instead of the password."""
    return generate_password_hash(password, method="scrypt")


def read_users(path: Path) -> dict[str, User]:
    """Users by name, of lines NAME:ROLE:HASH. Raises UserError that names every bad line."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"MUSTER_DASHBOARD_USERS_FILE: {path}: {error}") from error
    users: dict[str, User] = {}
    problems = []
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, rest = line.strip().partition(":")
        role, _, hashed = rest.partition(":")
        if not name or not is_role(role) or hashed.count("$") != 2:
            problems.append(f"line {number} is not NAME:viewer or admin:HASH")
        elif name in users:
            problems.append(f"line {number} names {name} again")
        else:
            users[name] = User(name, role, hashed)
    if not users and not problems:
        problems.append("it names nobody")
    if problems:
        raise UserError(
            f"{path}: {'; '.join(problems)}; make lines with `muster dashboard --new-user NAME`"
        )
    return users


def read_key(path: Path | None) -> bytes:
    """The key that signs cookies: a new one, or that of the file, which is made where absent.

    Raises UserError where the file cannot be read or made, or holds too little.
    """
    if path is None:
        return secrets.token_bytes(KEY_BYTES)
    try:
        if not path.exists():
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w", encoding="ascii") as file:
                file.write(secrets.token_hex(KEY_BYTES))
        key = path.read_bytes().strip()
    except OSError as error:
        raise UserError(f"MUSTER_DASHBOARD_KEY_FILE: {path}: {error.strerror}") from error
    if len(key) < KEY_BYTES:
        raise UserError(
            f"MUSTER_DASHBOARD_KEY_FILE: {path}: fewer than {KEY_BYTES} bytes sign nothing "
            "safely; remove it, and a new one is made"
        )
    return key


def cookie_name(request: Request) -> str:
    """Of its own for each port: cookies of one host are shared by all of its ports."""
    port = request.host.rpartition(":")[2]
    return f"{COOKIE}-{port}" if port.isdigit() else COOKIE


def set_cookie(response: Response, request: Request, value: str, *, seconds: float) -> None:
    """Keep a session; seconds 0 ends it."""
    response.set_cookie(
        cookie_name(request),
        value,
        max_age=int(seconds),
        path="/",
        secure=is_https(request),
        httponly=True,
        samesite="Lax",
    )


def is_https(request: Request) -> bool:
    """Whether the browser came by https, as far as this server or its settings know."""
    return bool(request.scheme == "https" or request.environ.get("muster.is_https"))


def proxied(request: Request, access: Access) -> Person | None:
    """Who the proxy says it is; nobody but the proxy's own address is believed."""
    if access.proxy_header is None or not is_from(request.remote_addr, access.proxy_networks):
        return None
    name = request.headers.get(access.proxy_header, "").strip()
    if not name:
        return None
    return Person(name, "admin" if name in access.admins else "viewer")


def is_from(address: str | None, networks: tuple[str, ...]) -> bool:
    """Whether the address lies in one of the networks."""
    try:
        found = ipaddress.ip_address(address or "")
    except ValueError:
        return False
    return any(found in ipaddress.ip_network(each, strict=False) for each in networks)


def bearer(request: Request) -> str:
    """The token of an Authorization header, empty where there is none."""
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else ""


def basic(request: Request) -> tuple[str, str] | None:
    """Name and password of an Authorization header."""
    kind, _, coded = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() != "basic":
        return None
    try:
        text = base64.b64decode(coded.strip(), validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return None
    name, colon, password = text.partition(":")
    return (name, password) if colon else None


def is_same(given: str, wanted: str) -> bool:
    """Whether two secrets agree, in a time that does not say how far."""
    return hmac.compare_digest(given.encode(), wanted.encode())


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
