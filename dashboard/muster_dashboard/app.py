"""One WSGI application: optuna-dashboard, muster's pages beside it, a login in front of both."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from optuna.artifacts._protocol import ArtifactStore
from optuna_dashboard import wsgi
from werkzeug.exceptions import HTTPException, MethodNotAllowed, ServiceUnavailable
from werkzeug.wrappers import Request, Response

from muster.errors import MusterError
from muster_dashboard import metrics
from muster_dashboard.auth import Person
from muster_dashboard.board import Board
from muster_dashboard.door import LOGIN, SAFE, Door, without_token
from muster_dashboard.gate import Gate
from muster_dashboard.pages import Pages, error_page, login_page
from muster_dashboard.settings import ACCESS, Access
from muster_dashboard.shown import ShownStorage
from muster_db import engine as engines
from muster_db.artifacts import DatabaseArtifactStore

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

log = logging.getLogger(__name__)

HEALTH: Final = "/healthz"
METRICS: Final = "/metrics"
# Longer than the 5 s after which the health check of the compose file gives up is of no use.
PATIENCE_SECONDS: Final = 2.0
MOST_BODY_BYTES: Final = 1 << 20
HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not no-referrer: browsers would hide the origin of our own forms from us as well.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def create_app(
    storage_url: str,
    access: Access = ACCESS,
    *,
    address: str = "http://127.0.0.1:8080",
    announce: Callable[[str], None] = lambda link: None,
) -> WSGIApplication:
    """The dashboard of every study in a database whose tables are there.

    address: where browsers reach it. announce: see Door. Nobody sees anything without a login
    but GET /healthz, which answers 200 while the database answers, 503 otherwise. Trials whose
    lease has run out are released on the way: a health check does, too, so nobody has to look.
    Raises UserError for a users file or a key file that is none.
    """
    engine = engines.connect(storage_url, patience_seconds=PATIENCE_SECONDS)
    board = Board(engine)
    door = Door(access, address=address, announce=announce)
    storage = ShownStorage(board)
    store: ArtifactStore = DatabaseArtifactStore(engine)
    gate = Gate(wsgi(storage, artifact_store=store), storage, engine)
    pages = Pages(board, door, engine)
    is_https = door.address.startswith("https:")

    def respond(request: Request) -> Response:
        if request.path == HEALTH:
            return _health(request, board)
        if request.path == METRICS and door.may_scrape(request):
            return metrics.respond(board)
        person = door.who(request)
        token = request.args.get("token")
        if token is not None and request.method == "GET" and request.path != LOGIN:
            return without_token(request) if person else door.by_token(request, token)
        if request.method not in SAFE:
            door.check_origin(request)
        return _greet(request, door) if person is None else show(request, person)

    def show(request: Request, person: Person) -> Response:
        if request.path == METRICS:
            return metrics.respond(board)
        is_ours = request.path == "/muster" or request.path.startswith("/muster/")
        return (pages if is_ours else gate).respond(request, person)

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ["muster.is_https"] = is_https
        request = Request(environ)
        request.max_content_length = MOST_BODY_BYTES
        try:
            response = respond(request)
        except HTTPException as error:
            response = _explain(request, door, error)
        except MusterError as error:
            response = _explain(request, door, ServiceUnavailable(str(error)))
        return _finish(response)(environ, start_response)

    return app


def _finish(response: Response) -> Response:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers.setdefault("Cache-Control", "no-store")
    return response


def _greet(request: Request, door: Door) -> Response:
    """The login page for a stranger, and what comes of it; raises HTTPException elsewhere."""
    if request.path != LOGIN or door.access.login != "token":
        raise door.refusal(request)
    if request.method in SAFE:
        return login_page()
    if request.method != "POST":
        raise MethodNotAllowed(["GET", "HEAD", "POST"])
    # Whoever pastes the whole address means the token in it.
    given = request.form.get("token", "").strip()
    return door.by_token(request, given.rpartition("token=")[2])


def _health(request: Request, board: Board) -> Response:
    if request.method not in SAFE:
        raise MethodNotAllowed(["GET", "HEAD"])
    if board.is_reachable():
        return _say(200, {"status": "ok"})
    # Where the database is, and who asks it, is for those who are logged in, and for the log.
    return _say(503, {"status": "unavailable", "reason": "the database does not answer"})


def _explain(request: Request, door: Door, error: HTTPException) -> Response:
    """The error as a page where a browser shows it, else as JSON; strangers go to the login."""
    wants_page = request.accept_mimetypes.accept_html and not _is_call(request)
    if (
        error.code == 401
        and wants_page
        and request.method in SAFE
        and door.access.login == "token"
    ):
        response = Response(status=303)
        response.location = LOGIN
        return response
    if wants_page:
        response = error_page(error, is_known=error.code != 401)
    else:
        response = _say(error.code or 500, {"reason": error.description})
    for name, value in error.get_headers():
        if name not in ("Content-Type", "Content-Length"):
            response.headers[name] = value
    if error.response is not None:
        response.headers.extend(
            (name, value) for name, value in error.response.headers if name == "WWW-Authenticate"
        )
    return response


def _is_call(request: Request) -> bool:
    """Whether a script asks: what it shows of an error is its text, not a page."""
    return request.path.startswith(("/api/", "/muster/api/", METRICS)) or (
        request.headers.get("Sec-Fetch-Mode") in ("cors", "same-origin")
    )


def _say(status: int, content: dict[str, Any]) -> Response:
    return Response(json.dumps(content), status=status, mimetype="application/json")
