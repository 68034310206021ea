"""muster's own pages: Search, Workers, Ensemble, Dataset, and what admins may do."""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from sqlalchemy import Engine
from werkzeug.exceptions import Forbidden, HTTPException, MethodNotAllowed, NotFound
from werkzeug.utils import redirect
from werkzeug.wrappers import Request, Response

from muster_dashboard import figures
from muster_dashboard.artifacts import outline_of
from muster_dashboard.auth import Person, is_role
from muster_dashboard.board import ANY, Board, Sight, first_choice
from muster_dashboard.dataset import dataset
from muster_dashboard.door import HOME, LOGIN, SAFE, Door
from muster_db.study import resume_study, stop_study

HERE: Final = Path(__file__).parent
TITLES: Final = {
    "search": "Search",
    "workers": "Workers",
    "ensemble": "Ensemble",
    "dataset": "Dataset",
}
# What is more than looking.
ACTING: Final = frozenset({"study", "links", "logout"})
STATIC: Final = {".js": "text/javascript", ".css": "text/css"}
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
REFRESH_SECONDS: Final = 3

templates = Environment(
    loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined
)


class Pages:
    """Everything below /muster/."""

    def __init__(self, board: Board, door: Door, engine: Engine) -> None:
        self._board = board
        self._door = door
        self._engine = engine

    def respond(self, request: Request, person: Person) -> Response:
        """Raises HTTPException for what is not there or not allowed, and Unavailable."""
        parts = request.path.removeprefix("/muster").strip("/").split("/")
        if parts[0] not in ACTING and request.method not in SAFE:
            raise MethodNotAllowed(["GET", "HEAD"])
        match parts:
            case [""]:
                response = redirect(f"{HOME}search", 303)
            case [name] if name in TITLES:
                response = self._page(request, person, name)
            case ["api", name] if name in TITLES:
                response = self._figures(request, name)
            case ["static", name]:
                response = _static(name)
            case ["login"]:
                response = redirect(HOME, 303)
            case ["study", verb] if verb in ("stop", "resume"):
                response = self._act(request, person, verb)
            case ["links"]:
                response = self._links(request, person)
            case ["logout"]:
                self._check(request, person)
                response = self._door.leave(request, person)
            case _:
                raise NotFound("there is no such page")
        return response

    def _page(self, request: Request, person: Person, name: str) -> Response:
        sight, study = self._choose(request)
        data = "null" if study is None else self._json(sight, name, study)
        return page(
            f"{name}.html",
            title=TITLES[name],
            name=name,
            pages=TITLES,
            study=study,
            studies=[head.name for head in sight.heads],
            heads={head.name: head for head in sight.heads},
            person=person,
            form=self._door.form_token(person),
            data=data.replace("<", "\\u003c"),
            seconds=REFRESH_SECONDS,
            login=self._door.access.login,
        )

    def _figures(self, request: Request, name: str) -> Response:
        sight, study = self._choose(request)
        if study is None:
            raise NotFound("there is no study yet")
        return Response(self._json(sight, name, study), mimetype="application/json")

    def _json(self, sight: Sight, name: str, study: str) -> str:
        def make() -> str:
            found = {"at": sight.at.isoformat(), **self._of(sight, name, study)}
            return json.dumps(figures.plain_numbers(found), allow_nan=False)

        text: str = sight.keep((name, study), make)
        return text

    def _of(self, sight: Sight, name: str, study: str) -> dict[str, Any]:
        seen = sight.studies[study]
        if name == "search":
            return figures.search(seen, sight.at)
        if name == "workers":
            return figures.crew(seen, sight.at)
        if name == "ensemble":
            return figures.ensemble(seen, sight.at)
        outline = outline_of(self._engine, seen.study.contract.dataset_fingerprint)
        return dataset(seen.study, outline)

    def _choose(self, request: Request) -> tuple[Sight, str | None]:
        """The study that was asked for, or the first choice; None where there is none at all."""
        wanted = request.args.get("study", ANY)
        sight = self._board.look(wanted)
        name = first_choice(sight.heads) if wanted == ANY else wanted
        if name is None:
            return sight, None
        if name not in sight.studies:
            known = ", ".join(head.name for head in sight.heads)
            raise NotFound(f"there is no study {name!r}; the studies here: {known}")
        return sight, name

    def _act(self, request: Request, person: Person, verb: str) -> Response:
        self._check(request, person)
        if not person.is_admin:
            raise Forbidden("viewers only look; ask an admin")
        name = request.form.get("study", "")
        found = self._board.look(name).studies.get(name)
        if found is None:
            raise NotFound(f"there is no study {name!r}")
        change = stop_study if verb == "stop" else resume_study
        change(self._engine, found.study)
        self._board.forget()
        return redirect(f"{HOME}search?{urlencode({'study': name})}", 303)

    def _links(self, request: Request, person: Person) -> Response:
        if not person.is_admin:
            raise Forbidden("viewers only look; ask an admin for a link")
        link = role = None
        if request.method not in SAFE:
            self._check(request, person)
            role = request.form.get("role")
            if not is_role(role):
                raise NotFound("a link is for a viewer or an admin")
            link = self._door.make_link(role)
        return page(
            "links.html",
            title="Links",
            link=link,
            role=role,
            form=self._door.form_token(person),
            is_token=self._door.access.login == "token",
        )

    def _check(self, request: Request, person: Person) -> None:
        if request.method != "POST":
            raise MethodNotAllowed(["POST"])
        self._door.check_form(request, person)


def page(template: str, *, status: int = 200, **values: Any) -> Response:
    """One of our pages, with the policy that it runs nothing but our own scripts."""
    text = templates.get_template(template).render(**values)
    response = Response(text, status=status, mimetype="text/html")
    response.headers["Content-Security-Policy"] = POLICY
    return response


def error_page(error: HTTPException, *, is_known: bool) -> Response:
    """What went wrong, for people; its style comes with it, as a stranger may load nothing."""
    status = error.code or 500
    text = templates.get_template("error.html").render(
        status=status,
        name=error.name,
        reason=error.description,
        style=_text("plain.css"),
        home=HOME if is_known else LOGIN,
    )
    return _inline(text, status)


def login_page() -> Response:
    """Where a link or its token can be pasted."""
    text = templates.get_template("login.html").render(style=_text("plain.css"), login=LOGIN)
    return _inline(text, 200)


def _inline(text: str, status: int) -> Response:
    response = Response(text, status=status, mimetype="text/html")
    policy = POLICY.replace("style-src 'self'", f"style-src 'sha256-{_hash('plain.css')}'")
    response.headers["Content-Security-Policy"] = policy
    return response


@cache
def _text(name: str) -> str:
    return (HERE / "static" / name).read_text(encoding="utf-8")


@cache
def _hash(name: str) -> str:
    return base64.b64encode(hashlib.sha256(_text(name).encode()).digest()).decode()


def _static(name: str) -> Response:
    kind = STATIC.get(Path(name).suffix)
    if kind is None or name not in _files():
        raise NotFound("there is no such file")
    response = Response(_text(name), mimetype=kind)
    response.headers["Cache-Control"] = "private, max-age=300"
    return response


@cache
def _files() -> frozenset[str]:
    return frozenset(each.name for each in (HERE / "static").iterdir())
