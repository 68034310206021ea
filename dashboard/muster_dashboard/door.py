"""The login in front of every page: lets people in, and keeps count of who fails."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Final
from urllib.parse import quote, urlencode

from werkzeug.exceptions import Forbidden, HTTPException, TooManyRequests, Unauthorized
from werkzeug.utils import redirect
from werkzeug.wrappers import Request, Response

from muster_dashboard import auth
from muster_dashboard.auth import Links, Passwords, Person, Role, Sessions
from muster_dashboard.settings import Access
from muster_dashboard.throttle import Throttle

log = logging.getLogger(__name__)

LOGIN: Final = "/muster/login"
HOME: Final = "/muster/"
SAFE: Final = frozenset({"GET", "HEAD"})


class Door:
    """announce: is told a link that lets an admin in once, and the next one when it is used.

    address: where browsers reach the dashboard, as far as the server knows.
    """

    def __init__(self, access: Access, *, address: str, announce: Callable[[str], None]) -> None:
        self.access = access
        self.address = (access.address or address).rstrip("/")
        self._announce = announce
        self._links = Links()
        self._throttle = Throttle()
        self._sessions = Sessions(auth.read_key(access.key_file), seconds=access.session_seconds)
        users = {} if access.users_file is None else auth.read_users(access.users_file)
        self._passwords = Passwords(users) if users else None
        if access.login == "token":
            announce(self.make_link("admin", seconds=math.inf))
        else:
            announce(self.address)

    def make_link(self, role: Role, *, seconds: float = auth.LINK_SECONDS) -> str:
        """An address that lets one person in, once."""
        return f"{self.address}/?{urlencode({'token': self._links.make(role, seconds=seconds)})}"

    def who(self, request: Request) -> Person | None:
        """Who is asking, by a cookie, a password or the proxy. Raises TooManyRequests."""
        if self.access.login == "proxy":
            return auth.proxied(request, self.access)
        if self.access.login == "basic":
            return self._by_password(request)
        cookie = request.cookies.get(auth.cookie_name(request))
        return None if cookie is None else self._sessions.read(cookie)

    def may_scrape(self, request: Request) -> bool:
        """Whether the request carries the token of the metrics. Raises TooManyRequests."""
        token = auth.bearer(request)
        if self.access.metrics_token is None or not token:
            return False
        self._check_patience(request)
        if auth.is_same(token, self.access.metrics_token):
            return True
        self._throttle.failed(_address(request))
        return False

    def by_token(self, request: Request, token: str) -> Response:
        """Let in whoever brings a link that works, on to the page they asked for.

        Raises Forbidden for a token that does not work (any more), TooManyRequests.
        """
        self._check_patience(request)
        role = self._links.redeem(token) if self.access.login == "token" else None
        if role is None:
            self._throttle.failed(_address(request))
            raise Forbidden(
                "this link does not work: each lets one person in once. The newest one stands in "
                "the output of `muster dashboard` (docker compose logs dashboard), or ask an admin"
            )
        self._throttle.succeeded(_address(request))
        log.info("%s came in by a link as %s", _address(request), role)
        response = without_token(request) if request.method in SAFE else redirect(HOME, 303)
        value = self._sessions.begin(role, role)
        auth.set_cookie(response, request, value, seconds=self._sessions.seconds)
        if role == "admin":
            self._announce(self.make_link("admin", seconds=math.inf))
        return response

    def leave(self, request: Request, person: Person) -> Response:
        """End the session, wherever its cookie was copied to."""
        self._sessions.end(person)
        response = redirect(LOGIN, 303)
        auth.set_cookie(response, request, "", seconds=0)
        return response

    def form_token(self, person: Person) -> str:
        """What the person's forms carry."""
        return self._sessions.form_token(person)

    def check_form(self, request: Request, person: Person) -> None:
        """Raise Forbidden where the form was not one of this person's."""
        given = request.form.get("form", "")
        if not auth.is_same(given, self.form_token(person)):
            raise Forbidden("this form is not from your session; load the page again")

    def check_origin(self, request: Request) -> None:
        """Raise Forbidden where another site's page sent a request that changes something."""
        site = request.headers.get("Sec-Fetch-Site")
        origin = request.headers.get("Origin")
        own = {f"{request.scheme}://{request.host}".lower(), self.access.origin}
        is_ours = (site, origin) != (None, None)
        is_ours &= site in (None, "same-origin")
        is_ours &= origin is None or origin.lower() in own
        if not is_ours:
            raise Forbidden(
                "a page of another address sent this; behind a proxy that hides yours, set "
                "MUSTER_DASHBOARD_URL"
            )

    def refusal(self, request: Request) -> HTTPException:
        """What somebody gets who is not known."""
        if self.access.login == "basic":
            challenge = Response(status=401)
            challenge.headers["WWW-Authenticate"] = 'Basic realm="muster", charset="UTF-8"'
            return Unauthorized("log in with a name and password of the users file", challenge)
        if self.access.login == "proxy":
            return Unauthorized("come through the proxy that knows who you are")
        return Unauthorized(f"log in first: {LOGIN}")

    def _by_password(self, request: Request) -> Person | None:
        given = auth.basic(request)
        if given is None or self._passwords is None:
            return None
        self._check_patience(request)
        person = self._passwords.check(*given)
        if person is None:
            self._throttle.failed(_address(request))
            log.warning("a wrong name or password from %s", _address(request))
        else:
            self._throttle.succeeded(_address(request))
        return person

    def _check_patience(self, request: Request) -> None:
        wait = self._throttle.wait_seconds(_address(request))
        if wait > 0:
            seconds = math.ceil(wait)
            raise TooManyRequests(
                f"too many wrong attempts; wait {seconds} s", retry_after=seconds
            )


def without_token(request: Request) -> Response:
    """The page that was asked for, at an address that may be seen by others."""
    rest = [(key, value) for key, value in request.args.items(multi=True) if key != "token"]
    query = f"?{urlencode(rest)}" if rest else ""
    # Two slashes at the start would name another host.
    path = "/" + quote(request.path.lstrip("/\\"))
    return redirect(HOME if path == "/" and not rest else f"{path}{query}", 303)


def _address(request: Request) -> str:
    return request.remote_addr or "unknown"
