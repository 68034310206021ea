from __future__ import annotations

import re
from typing import Any

import pytest
from optuna.trial import TrialState
from optuna_dashboard import wsgi
from sqlalchemy import Engine

from dashboards import OWN, Opened, reason
from muster_dashboard.board import Board
from muster_dashboard.shown import ShownStorage
from muster_db.study import open_study
from shows import NAME, Show

JSON = OWN | {"Content-Type": "application/json"}


def writing_routes(engine: Engine) -> list[tuple[str, str]]:
    """Every route of optuna-dashboard that is not read, with the first study and trial in it."""
    app: Any = wsgi(ShownStorage(Board(engine)))
    found = []
    for route in app.routes:
        if route.method not in ("GET", "HEAD"):
            path = re.sub(r"<(study|trial)_id:int>", "1", route.rule)
            found.append((route.method, re.sub(r"<\w+(:[^>]*)?>", "c1-1", path)))
    return found


def test_every_writing_route_is_closed_to_viewers(
    dashboard: Opened, show_engine: Engine, show: Show
) -> None:
    routes = writing_routes(show_engine)
    assert ("DELETE", "/api/studies/1") in routes
    assert len(routes) > 15
    viewer = dashboard.log_in("viewer")
    body = {"study_name": "other", "directions": ["maximize"], "version": 1, "body": "x"}
    for method, path in routes:
        refused = viewer.open(path, method=method, json=body, headers=OWN)
        assert refused.status_code == 403, (method, path)
        assert "viewers only look" in reason(refused)
    assert open_study(show_engine, NAME).study_id == show.study.study_id


def test_admins_write_notes_and_nothing_else(dashboard: Opened, show_engine: Engine) -> None:
    admin = dashboard.log_in()
    for method, path in writing_routes(show_engine):
        if not path.endswith("/note"):
            refused = admin.open(path, method=method, json={}, headers=OWN)
            assert refused.status_code == 403, (method, path)
            assert "muster study" in reason(refused)


def test_a_note_is_saved_once_a_version_and_shown(dashboard: Opened) -> None:
    admin = dashboard.log_in()
    text = "# ☂\n" + "long " * 1000

    def put(path: str, version: object, body: object = text) -> int:
        content = {"version": version, "body": body}
        return admin.put(f"/api/studies/{path}/note", json=content, headers=OWN).status_code

    def note(number: int) -> dict[str, Any]:
        detail = admin.get("/api/studies/1").get_json()
        found: dict[str, Any] = detail["trials"][number]["note"]
        return found

    assert put("1/2", 1) == 204
    assert put("1/2", 1) == 409
    assert admin.get("/api/studies/1").get_json()["trials"][1]["note"] == {
        "version": 1,
        "body": text,
    }
    assert put("1/2", 2, "short") == 204
    assert note(1) == {"version": 2, "body": "short"}
    version = admin.get("/api/studies/1").get_json()["note"]["version"]
    assert put("1", version + 1, "of the study") == 204
    assert admin.get("/api/studies/1").get_json()["note"]["body"] == "of the study"
    assert put("1/999", 1) == put("9", 1) == 404
    assert put("1/2", "3") == put("1/2", 3, None) == put("1/2", 3, "x" * 200_000) == 400
    broken = admin.put("/api/studies/1/note", data=b"{", headers=JSON)
    assert broken.status_code == 400


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/studies/1?after=abc", 400),
        ("/api/studies/1?after=-1", 400),
        ("/api/studies/99", 404),
        ("/api/studies/99/plot/edf", 404),
        ("/api/studies/1/plot/none", 404),
        ("/csv/99", 404),
        ("/csv/1?trial_ids=a", 400),
        ("/csv/1?trial_ids=,", 400),
        ("/csv/1?trial_ids=0,1", 200),
        ("/csv/1", 200),
        ("/artifacts/1/1/ff-1", 404),
        ("/artifacts/1/99/c1-99", 404),
        ("/artifacts/1/ff", 404),
        ("/static/..%2f_app.py", 404),
        ("/static/_app.py", 404),
        ("/incompatible-rdb-schema", 404),
        ("/favicon.ico", 200),
    ],
)
def test_only_what_can_be_answered_is_let_through(
    dashboard: Opened, path: str, status: int
) -> None:
    assert dashboard.log_in("viewer").get(path).status_code == status


def test_the_storage_refuses_to_write_whatever_asks_it_to(show_engine: Engine, show: Show) -> None:
    storage = ShownStorage(Board(show_engine))
    trial = storage.get_all_trials(show.study.study_id)[0]
    assert storage.get_trial(trial._trial_id).number == 0
    assert storage.get_study_id_from_name(NAME) == show.study.study_id
    for write in (
        lambda: storage.delete_study(1),
        lambda: storage.create_new_study([]),
        lambda: storage.set_trial_state_values(1, TrialState.FAIL),
        lambda: storage.set_study_system_attr(1, "key", 1),
        lambda: storage.set_trial_user_attr(1, "key", 1),
    ):
        with pytest.raises(RuntimeError, match="only shows"):
            write()
