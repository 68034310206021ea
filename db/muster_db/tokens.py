"""Join tokens: all that a member needs to reach the database, in one string.

`muster1.LENGTH.BODY`: LENGTH counts BODY's characters; BODY is base64url over the first bytes of
a SHA-256 and the deflated JSON. The sum finds accidents, not forgers: who writes a token of her
own gains nothing, for the rights are the account's on the server.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import ssl
import tempfile
import zlib
from datetime import datetime
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_serializer
from sqlalchemy import URL

from muster.errors import UserError

VERSION: Final = 1
SHAPE: Final = re.compile(r"muster(\d+)\.(\d+)\.([\w-]*)", re.ASCII)
TOKEN: Final = re.compile(r"muster\d+\.\d+\.[\w-]+", re.ASCII)
SUM_BYTES: Final = 8
# A token that unpacks to more is hostile: that many hold hundreds of certificates.
MOST_BYTES: Final = 1_000_000
AGAIN: Final = "copy it again as a whole, or ask for a new one"


class Token(BaseModel):
    """Where the database is and who joins. expires_at: naive UTC, by the database's clock.

    ca: certificates that the server's must be signed by, PEM. is_host_checked: whether the
    server's certificate must also name the host. study: the one to serve, None for all.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field(min_length=1)
    port: int = Field(ge=1, le=65_535)
    database: str = Field(min_length=1)
    user: str = Field(min_length=1)
    password: SecretStr
    ca: str
    is_host_checked: bool
    member: str
    role: str
    study: str | None = None
    expires_at: datetime | None = None

    @field_serializer("password", when_used="json")
    def _reveal(self, password: SecretStr) -> str:
        return password.get_secret_value()


def is_token(text: str) -> bool:
    """Whether this means to be a token, whole or not."""
    return re.match(r"\s*muster\d+\.", text, re.ASCII) is not None


def write(token: Token) -> str:
    """The token as one line."""
    packed = zlib.compress(token.model_dump_json(exclude_none=True).encode(), 9)
    body = base64.urlsafe_b64encode(_sum(packed) + packed).decode().rstrip("=")
    return f"muster{VERSION}.{len(body)}.{body}"


def read(text: str) -> Token:
    """What write wrote; white space is left out. Raises UserError, which shows none of it."""
    found = SHAPE.fullmatch("".join(text.split()))
    if found is None:
        raise UserError(
            f"this is no join token: one begins with muster{VERSION}. and holds nothing but "
            f"letters, digits, - and _ after that; {AGAIN}"
        )
    version, length, body = int(found[1]), int(found[2]), found[3]
    if version > VERSION:
        raise UserError(
            f"a newer muster made this join token (version {version}, this one reads {VERSION}); "
            "install the newest muster on this machine"
        )
    if len(body) < length:
        raise UserError(
            f"the join token is cut off: {len(body)} of {length} characters are there; {AGAIN}"
        )
    try:
        data = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))
        if len(body) != length or _sum(data[SUM_BYTES:]) != data[:SUM_BYTES]:
            raise ValueError
        return Token.model_validate_json(
            zlib.decompressobj().decompress(data[SUM_BYTES:], MOST_BYTES)
        )
    except (ValueError, zlib.error, ValidationError):
        # Not chained: the decoder's words would show parts of the token.
        raise UserError(f"the join token was altered on its way; {AGAIN}") from None


def url_of(token: Token, *, folder: Path) -> URL:
    """The database's URL for the token's account; its CA is written to a file below folder.

    Raises UserError where the certificates are none.
    """
    return URL.create(
        "mysql+pymysql",
        username=token.user,
        password=token.password.get_secret_value(),
        host=token.host,
        port=token.port,
        database=token.database,
        query={
            "ssl_ca": str(_keep_ca(token.ca, folder)),
            "ssl_check_hostname": "true" if token.is_host_checked else "false",
        },
    )


def hide(line: str) -> str:
    """The line with *** in place of every token in it."""
    return TOKEN.sub("***", line)


def _keep_ca(pem: str, folder: Path) -> Path:
    try:
        ssl.create_default_context(cadata=pem)
    except (ssl.SSLError, ValueError) as error:
        raise UserError(f"the join token's CA certificate cannot be read; {AGAIN}") from error
    path = folder / "authorities" / f"{hashlib.sha256(pem.encode()).hexdigest()[:16]}.pem"
    if path.is_file() and path.read_text(encoding="ascii") == pem:
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(pem)
        file.flush()
        os.fsync(file.fileno())
    Path(temporary).replace(path)
    return path


def _sum(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()[:SUM_BYTES]
