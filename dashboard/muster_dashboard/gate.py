"""What of optuna-dashboard may be asked for, and in which form.

Its routes trust what they are given: a parameter that is no number ends in a traceback. So those
that are known to read are let through, with arguments that they can take, and no others.
"""

from __future__ import annotations

import io
import json
import re
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from werkzeug.exceptions import BadRequest, Conflict, Forbidden, MethodNotAllowed, NotFound
from werkzeug.utils import redirect
from werkzeug.wrappers import Request, Response

from muster_dashboard import artifacts
from muster_dashboard.auth import Person
from muster_dashboard.shown import ShownStorage
from muster_db import remarks
from muster_db.artifacts import DatabaseArtifactStore

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication
    from sqlalchemy import Engine

# Drawn here where plotly is installed; optuna-dashboard's own script draws them otherwise.
PLOTS: Final = "contour|slice|parallel_coordinate|rank|edf|timeline"
PAGES: Final = re.compile(
    r"/(dashboard(/.*)?|api/meta|api/studies|favicon\.ico|static/[\w.-]+)", re.ASCII
)
OF_STUDY: Final = re.compile(
    rf"/(api/studies|csv)/(?P<study>\d{{1,10}})(/param_importances|/plot/({PLOTS}))?", re.ASCII
)
NOTE: Final = re.compile(r"/api/studies/(?P<study>\d{1,10})(/(?P<trial>\d{1,10}))?/note", re.ASCII)
ARTIFACT: Final = re.compile(
    r"/artifacts/(?P<study>\d{1,10})(/(?P<trial>\d{1,10}))?/(?P<artifact>[0-9a-fA-F-]{1,64})",
    re.ASCII,
)
MOST_NOTE_CHARACTERS: Final = 100_000
MOST_AFTER: Final = 9
# Beside what optuna-dashboard says itself of scripts and styles.
MORE_POLICY: Final = "base-uri 'none';form-action 'self';frame-ancestors 'none'"
# An image or a text that somebody stored runs nothing in this place's name.
FILE_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
BRIDGE: Final = (
    '<link rel="stylesheet" href="/muster/static/bridge.css">'
    '<a id="muster-bridge" href="/muster/">muster: search, workers, ensemble</a></body>'
)
ONLY_SHOWS: Final = "this dashboard only shows; change a study with the `muster study` commands"


class Gate:
    """optuna-dashboard behind the list of what it may be asked."""

    def __init__(self, pages: WSGIApplication, storage: ShownStorage, engine: Engine) -> None:
        self._pages = pages
        self._storage = storage
        self._engine = engine
        self._files = DatabaseArtifactStore(engine)

    def respond(self, request: Request, person: Person) -> Response:
        """Raises HTTPException for what is not allowed or not there, and Unavailable."""
        if request.method == "PUT" and (found := NOTE.fullmatch(request.path)):
            if not person.is_admin:
                raise Forbidden("viewers only look; ask an admin to write the note")
            return self._save_note(request, found)
        if request.method not in ("GET", "HEAD"):
            if request.method in ("POST", "PUT", "DELETE", "PATCH"):
                raise Forbidden(ONLY_SHOWS if person.is_admin else "viewers only look")
            raise MethodNotAllowed(["GET", "HEAD"])
        if request.path == "/":
            # Its own answer names a host and a scheme, which a proxy may have changed.
            return redirect("/dashboard")
        if found := ARTIFACT.fullmatch(request.path):
            return self._artifact(found)
        if found := OF_STUDY.fullmatch(request.path):
            self._check_study(found)
            _check_arguments(request)
            if found[4] is not None and find_spec("plotly") is None:
                raise NotFound("plots are drawn on the server only where plotly is installed")
        elif PAGES.fullmatch(request.path.rstrip("/")) is None:
            raise NotFound("there is no such page; muster's own begin at /muster/")
        return self._ask(request)

    def _ask(self, request: Request) -> Response:
        environ = dict(request.environ)
        # It looks for this header without asking whether it is there.
        environ.setdefault("HTTP_ACCEPT_ENCODING", "")
        # For a part that is none, bottle leaves its file open.
        environ.pop("HTTP_RANGE", None)
        environ["wsgi.input"] = io.BytesIO()
        environ["CONTENT_LENGTH"] = "0"
        response = Response.from_app(self._pages, environ, buffered=True)
        response.headers.pop("Date", None)
        policy = response.headers.get("Content-Security-Policy")
        if policy is not None:
            response.headers["Content-Security-Policy"] = f"{policy};{MORE_POLICY}"
            response.direct_passthrough = False
            page = response.get_data(as_text=True)
            response.set_data(page.replace("</body>", BRIDGE, 1))
            # These tell of the file, not of what is sent.
            for name in ("Last-Modified", "ETag", "Accept-Ranges"):
                response.headers.pop(name, None)
        elif request.path.startswith("/static/"):
            response.headers["Cache-Control"] = "private, max-age=3600"
        return response

    def _save_note(self, request: Request, found: re.Match[str]) -> Response:
        try:
            content = json.loads(request.get_data())
        except (ValueError, RecursionError) as error:
            raise BadRequest("the note is not JSON") from error
        version = content.get("version") if isinstance(content, dict) else None
        body = content.get("body") if isinstance(content, dict) else None
        if type(version) is not int or not isinstance(body, str):
            raise BadRequest("a note has a version, a number, and a body, a text")
        if len(body) > MOST_NOTE_CHARACTERS:
            raise BadRequest(f"a note has at most {MOST_NOTE_CHARACTERS} characters")
        study_id, trial_id = self._ids(found)
        study = self._storage.sight(study_id).study
        if not remarks.save(self._engine, study, body, version=version, trial_id=trial_id):
            raise Conflict(
                "the note has changed meanwhile; copy your edits and load the page again"
            )
        self._storage.forget()
        return Response(status=204)

    def _artifact(self, found: re.Match[str]) -> Response:
        study_id, trial_id = self._ids(found)
        sight = self._storage.sight(study_id)
        artifact_id = found["artifact"]
        trial = next((each for each in sight.trials if each.trial_id == trial_id), None)
        kind = None if trial is None else artifacts.find(artifact_id, trial)
        if trial is not None and kind is not None:
            data = artifacts.render(self._engine, sight, trial, kind)
            mimetype, name = kind.mimetype, f"trial{trial.number}-{kind.filename}"
        else:
            facts = sight.facts if trial is None else trial.facts
            meta = artifacts.stored_meta(facts, artifact_id)
            if meta is None:
                raise NotFound("there is no such file")
            with self._files.open_reader(artifact_id) as file:
                data = file.read()
            mimetype, name = meta
        response = Response(data, mimetype=mimetype)
        response.headers["Content-Security-Policy"] = FILE_POLICY
        response.headers.set("Content-Disposition", "inline", filename=name)
        return response

    def _ids(self, found: re.Match[str]) -> tuple[int, int | None]:
        """Study and trial of a path; raises NotFound where one of them is none."""
        study_id = self._check_study(found)
        if found["trial"] is None:
            return study_id, None
        trial_id = int(found["trial"])
        if all(each.trial_id != trial_id for each in self._storage.sight(study_id).trials):
            raise NotFound(f"the study has no trial with the id {trial_id}")
        return study_id, trial_id

    def _check_study(self, found: re.Match[str]) -> int:
        study_id = int(found["study"])
        try:
            self._storage.sight(study_id)
        except KeyError as error:
            raise NotFound(f"there is no study with the id {study_id}") from error
        return study_id


def _check_arguments(request: Request) -> None:
    after = request.args.get("after", "0")
    if not (after.isascii() and after.isdigit() and len(after) <= MOST_AFTER):
        raise BadRequest("after is a number of trials")
    wanted = request.args.get("trial_ids", "")
    if not re.fullmatch(r"[0-9, ]{0,20000}", wanted, re.ASCII):
        raise BadRequest("trial_ids are numbers with commas between")
    if wanted and any(not each.strip() for each in wanted.split(",")):
        raise BadRequest("trial_ids are numbers with commas between")
