"""1,000 malformed requests, made from the application's own routes: no 500, no traceback."""

from __future__ import annotations

import io
import logging
import random
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
from optuna_dashboard import wsgi
from sqlalchemy import Engine
from werkzeug.test import Client, EnvironBuilder, run_wsgi_app

from dashboards import OWN, Opened, form_of
from muster_dashboard.board import Board
from muster_dashboard.pages import TITLES
from muster_dashboard.shown import ShownStorage

REQUESTS = 1000
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW", "")
PIECES = (
    "1", "-1", "0", "99999999999999999999", "1e5", "nan", "null", "%00", "..", "../../etc/passwd",
    "é", "\udc80", "☂", "%", "'", "<script>", "a" * 5000, "", "//evil.example", "\\evil", "c1-1",
    "\r\nX: y", "{}", "None", "1/1", "🙂",
)  # fmt: skip
BODIES = (
    b"", b"{", b"null", b"[]", b"{}", b'"text"', b"\xff\xfe", b'{"version": 1e999, "body": {}}',
    b'{"version": true, "body": "x"}', b"[" * 5000, b"form=x&study=%00", b"role=owner",
    b"token=" + b"x" * 5000, b'{"version": 1, "body": "\\ud800"}', b"--x\r\n\r\n",
)  # fmt: skip
QUERIES = (
    "token=x",
    "study=",
    "study=%ff",
    "after=x",
    "after=-1",
    "trial_ids=,",
    "token",
    "%=&=%",
)
HEADERS: dict[str, tuple[str, ...]] = {
    "HTTP_COOKIE": ("muster=x", "muster=a.b.c; muster=", "=;=;", "muster=" + "x" * 5000, "é"),
    "HTTP_AUTHORIZATION": ("Basic ?", "Bearer", "Bearer \xe9", "Digest x", "Basic " + "A" * 999),
    "HTTP_HOST": ("", "evil.example", "[::1", "a:b:c", "é", "localhost:99999999"),
    "HTTP_ORIGIN": ("null", "http://localhost", "http://evil.example", "\xe9"),
    "HTTP_SEC_FETCH_SITE": ("cross-site", "same-origin", ""),
    "HTTP_ACCEPT": ("text/html", "*/*;q=x", "\xe9", ""),
    "HTTP_RANGE": ("bytes=0-1", "bytes=9-1", "x"),
    "HTTP_IF_MODIFIED_SINCE": ("yesterday", "Thu, 99 Jan 1970 00:00:00 GMT"),
    "CONTENT_LENGTH": ("-1", "x", "99999999999", ""),
    "CONTENT_TYPE": ("multipart/form-data; boundary=x", "application/json", "é", "x/y; charset=z"),
    "HTTP_TRANSFER_ENCODING": ("chunked",),
    "REMOTE_ADDR": ("", "no address", "::1"),
}


def routes(engine: Engine) -> list[tuple[str, str]]:
    """Method and path of all that can be asked for, with the first study and trial in them."""
    app: Any = wsgi(ShownStorage(Board(engine)))
    theirs = [
        (route.method, re.sub(r"<\w+(:[^>]*)?>", "1", route.rule.replace("(/.*)?", "")))
        for route in app.routes
        # Computing costs seconds, and what is asked of it is matched against a list.
        if "param_importances" not in route.rule
    ]
    pages = [f"/muster/{name}" for name in (*TITLES, "links", "login", "static/live.js")]
    api = [f"/muster/api/{name}" for name in TITLES]
    ours = ["/", "/healthz", "/metrics", "/artifacts/1/1/c1-1", *pages, *api]
    acts = ["/muster/study/stop", "/muster/links", "/muster/logout", "/muster/login"]
    return [*theirs, *(("GET", each) for each in ours), *(("POST", each) for each in acts)]


def malformed(rng: random.Random, known: list[tuple[str, str]]) -> dict[str, Any]:
    """An environment that no browser would send, or hardly."""
    method, path = rng.choice(known)
    parts = path.split("/")
    for _ in range(rng.choice((0, 0, 1, 2))):
        parts[rng.randrange(len(parts))] = rng.choice(PIECES)
    body = rng.choice(BODIES)
    environ = EnvironBuilder("/", base_url="http://localhost").get_environ()
    path = "/".join(parts) if rng.random() < 0.95 else rng.choice(PIECES)
    environ |= {
        "REQUEST_METHOD": method if rng.random() < 0.6 else rng.choice(METHODS),
        # As servers hand it on: bytes in the guise of Latin-1.
        "PATH_INFO": path.encode("utf-8", "surrogateescape").decode("latin-1"),
        "wsgi.input": io.BytesIO(body),
        "CONTENT_LENGTH": str(len(body)),
        "HTTP_ORIGIN": OWN["Origin"],
    }
    for name in rng.sample(list(HEADERS), rng.randint(0, 2)):
        environ[name] = rng.choice(HEADERS[name])
    if "QUERY_STRING" not in environ or rng.random() < 0.5:
        environ["QUERY_STRING"] = rng.choice(QUERIES)
    return environ


def sent(route: tuple[str, str], query: str) -> dict[str, Any]:
    """A request for what there is, with a query that it cannot take."""
    method, path = route
    builder = EnvironBuilder(path, method=method, query_string=query, headers=OWN)
    return builder.get_environ()


def cookie_of(client: Client) -> str:
    found = client.get_cookie("muster")
    assert found is not None
    return f"muster={found.value}"


@pytest.mark.timeout(120)
def test_malformed_requests_give_no_500_and_no_traceback(
    opened: Callable[..., Opened], show_engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    # One of its own: afterwards, whoever logs in has to wait.
    dashboard = opened()
    rng = random.Random(0)
    known = routes(show_engine)
    admin, viewer = dashboard.log_in(), dashboard.log_in("viewer")
    secrets = [form_of(admin), dashboard.links[-1].partition("=")[2]]
    cookies = [cookie_of(admin), cookie_of(viewer), ""]
    errors = io.StringIO()
    statuses: set[int] = set()
    caplog.set_level(logging.DEBUG)
    asked_for = [
        {**sent(route, query), "HTTP_COOKIE": cookies[0]} for route in known for query in QUERIES
    ]
    asked_for += [malformed(rng, known) for _ in range(REQUESTS)]
    for turn, environ in enumerate(asked_for):
        environ.setdefault("HTTP_COOKIE", cookies[turn % 3])
        environ["wsgi.errors"] = errors
        asked = (
            f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']!r} {environ.get('QUERY_STRING')}"
        )
        content, status, headers = run_wsgi_app(dashboard.app, environ, buffered=True)
        body = b"".join(content)
        statuses.add(int(status[:3]))
        assert int(status[:3]) < 500, (asked, body[:500])
        assert b"Traceback" not in body, asked
        assert urlsplit(headers.get("Location", "")).netloc in ("", "localhost"), asked
        if environ.get("HTTP_COOKIE") != cookies[0]:
            assert not any(secret.encode() in body for secret in secrets), asked
    assert errors.getvalue() == ""
    assert [record for record in caplog.records if record.exc_info] == []
    assert not any(secret in caplog.text for secret in secrets)
    assert {200, 400, 401, 403, 404, 405} <= statuses
