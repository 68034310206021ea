"""Database URLs: read without guessing, shown without a secret."""

from __future__ import annotations

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from muster.errors import UserError

SUPPORTED = "sqlite:///muster.db or mysql+pymysql://user:password@host/database"
ESCAPES = "in a user name or password write %40 for @, %2F for /, %3A for : and %23 for #"
# Of PyMySQL's arguments: password, passwd, ssl_key_password.
SECRET = "passw"
# What begins so says how to trust the server, at a length that hides the rest of a message.
TLS = ("ssl_ca", "ssl_check_hostname")


def parse(text: str) -> URL:
    """The parts of a URL. Raises UserError, which shows none of it, where they are not clear."""
    # After a second @, the end of a password would be taken, and shown, for the host.
    if not text.startswith("sqlite") and text.count("@") > 1:
        raise UserError(f"there is more than one @ in the database URL; {ESCAPES}")
    try:
        return make_url(text)
    except (ArgumentError, ValueError) as error:
        raise UserError(
            f"the database URL cannot be read; write it like {SUPPORTED}; {ESCAPES}"
        ) from error


def bracketed(host: str) -> str:
    """A host as it stands before a port."""
    return f"[{host}]" if ":" in host else host


def show(url: URL) -> str:
    """The URL for a message: no password, neither before the host nor in the query; no TLS."""
    url = url.difference_update_query([name for name in url.query if name.startswith(TLS)])
    hidden = {name: "***" for name in url.query if SECRET in name.lower()}
    shown = url.update_query_dict(hidden).render_as_string(hide_password=True)
    return shown.replace("%2A%2A%2A", "***")
