from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from werkzeug.test import Client, EnvironBuilder, run_wsgi_app

from dashboards import OWN, Opened, form_of, open_dashboard, path_of, reason
from databases import sqlite_with_tables
from muster.errors import UserError
from muster_dashboard.app import create_app
from muster_dashboard.server import serve
from muster_db.progress import progress
from muster_db.study import open_study
from samples import make_study, run_out, take
from shows import NAME

DEADLINE_SECONDS = 30


def test_nobody_sees_anything_without_a_login_but_the_health(dashboard: Opened) -> None:
    stranger = dashboard.client()
    assert stranger.get("/healthz").get_json() == {"status": "ok"}
    for path in ("/", "/dashboard", "/api/studies", "/muster/api/search", "/metrics", "/static/x"):
        assert stranger.get(path).status_code == 401, path
    shown = stranger.get("/muster/search", headers={"Accept": "text/html"})
    assert (shown.status_code, shown.location) == (303, "/muster/login")


def test_a_link_lets_one_person_in_and_the_next_is_announced(dashboard: Opened) -> None:
    link = dashboard.links[-1]
    first, second = dashboard.client(), dashboard.client()
    came = first.get(path_of(link))
    assert came.status_code == 303
    assert "token" not in came.location
    cookie = came.headers["Set-Cookie"]
    assert all(word in cookie for word in ("HttpOnly", "SameSite=Lax", "Path=/"))
    assert first.get("/muster/search").status_code == 200
    assert second.get(path_of(link)).status_code == 403
    assert second.get("/muster/api/search").status_code == 401
    assert second.get(path_of(dashboard.links[-1])).status_code == 303


def test_a_link_leads_to_no_other_host_and_into_no_header(dashboard: Opened) -> None:
    client = dashboard.log_in()
    for path, led in {
        "//evil.example/": "/evil.example/",
        "/\\evil.example": "/evil.example",
        "/a%0d%0ab": "/a%0D%0Ab",
        "/muster/search?study=a%20b&": "/muster/search?study=a+b",
    }.items():
        asked = f"{path}{'&' if '?' in path else '?'}token=x"
        environ = EnvironBuilder("/").get_environ()
        environ["PATH_INFO"], _, environ["QUERY_STRING"] = unquote(asked).partition("?")
        environ["HTTP_COOKIE"] = f"muster={client.get_cookie('muster').value}"  # type: ignore[union-attr]
        _, status, headers = run_wsgi_app(dashboard.app, environ)
        assert (status[:3], headers["Location"]) == ("303", led)


def test_the_token_of_a_link_can_be_pasted(dashboard: Opened) -> None:
    client = dashboard.client()
    assert "Link or token" in client.get("/muster/login").text
    pasted = {"token": f" {dashboard.links[-1]} "}
    assert client.post("/muster/login", data=pasted, headers=OWN).status_code == 303
    assert client.get("/muster/search").status_code == 200


def test_cookies_are_for_https_alone_where_browsers_come_by_https(
    opened: Callable[..., Opened],
) -> None:
    dashboard = opened(address="https://team.example/")
    assert dashboard.links[-1].startswith("https://team.example/?token=")
    came = dashboard.client().get(path_of(dashboard.links[-1]))
    assert "Secure" in came.headers["Set-Cookie"]


def test_every_answer_forbids_frames_guesses_and_other_sites(dashboard: Opened) -> None:
    client = dashboard.log_in()
    for path in ("/muster/search", "/dashboard", "/healthz", "/nowhere", "/api/studies"):
        headers = client.get(path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Referrer-Policy"] == "same-origin"
        assert "Access-Control-Allow-Origin" not in headers
    assert "frame-ancestors 'none'" in client.get("/dashboard").headers["Content-Security-Policy"]


@pytest.mark.parametrize("page", ["search", "workers", "ensemble", "dataset"])
def test_each_page_comes_with_its_figures(dashboard: Opened, page: str) -> None:
    client = dashboard.log_in("viewer")
    text = client.get(f"/muster/{page}").text
    assert "<b>" not in text.replace("<body>", "")
    figures = client.get(f"/muster/api/{page}", query_string={"study": NAME}).get_json()
    assert figures["study"] == NAME


def test_an_unknown_study_is_answered_with_the_known_ones(dashboard: Opened) -> None:
    refused = dashboard.log_in().get("/muster/api/search?study=nope")
    assert refused.status_code == 404
    assert NAME in reason(refused)


def test_optuna_dashboard_shows_the_study_with_its_files(dashboard: Opened) -> None:
    client = dashboard.log_in()
    studies = client.get("/api/studies").get_json()["study_summaries"]
    assert [each["study_name"] for each in studies] == [NAME]
    detail = client.get("/api/studies/1").get_json()
    files = [artifact["filename"] for artifact in detail["trials"][0]["artifacts"]]
    assert sorted(files) == ["confusion.svg", "curves.csv", "curves.svg", "log.txt"]
    assert "macro_f1" in detail["note"]["body"]
    assert client.get("/", headers={"Accept": "text/html"}).location == "/dashboard"
    assert 'href="/muster/"' in client.get("/dashboard").text


def test_without_a_study_the_page_says_how_to_make_one(sqlite_url: str) -> None:
    engine = sqlite_with_tables(path_in(sqlite_url))
    engine.dispose()
    client = open_dashboard(sqlite_url).log_in()
    assert "muster study create" in client.get("/muster/search").text
    assert client.get("/muster/api/search").status_code == 404
    assert client.get("/api/studies").get_json() == {"study_summaries": []}
    assert "muster_database_looks_total" in client.get("/metrics").text


def test_an_admin_stops_and_resumes_a_study_and_a_viewer_does_not(sqlite_url: str) -> None:
    engine = sqlite_with_tables(path_in(sqlite_url))
    make_study(engine)
    dashboard = open_dashboard(sqlite_url)
    admin, viewer = dashboard.log_in(), dashboard.log_in("viewer")

    def press(client: Client, verb: str, **changes: Any) -> int:
        form = {"form": form_of(client), "study": "study"} | changes.pop("data", {})
        asked = {"data": form, "headers": OWN} | changes
        return client.post(f"/muster/study/{verb}", **asked).status_code

    assert press(viewer, "stop") == 403
    assert press(admin, "stop", data={"form": form_of(viewer)}) == 403
    assert press(admin, "stop", headers={"Origin": "http://evil.example"}) == 403
    assert press(admin, "stop", headers={"Sec-Fetch-Site": "cross-site"}) == 403
    assert press(admin, "stop", headers={}) == 403
    assert open_study(engine, "study").state == "open"
    assert press(admin, "stop") == 303
    assert open_study(engine, "study").state == "stopped"
    assert "Resume the study" in admin.get("/muster/search?study=study").text
    assert press(admin, "resume") == 303
    assert open_study(engine, "study").state == "open"
    engine.dispose()


def test_who_logs_out_is_out_with_every_copy_of_the_cookie(dashboard: Opened) -> None:
    client = dashboard.log_in()
    cookie = client.get_cookie("muster")
    assert cookie is not None
    client.post("/muster/logout", data={"form": form_of(client)}, headers=OWN)
    assert client.get("/muster/api/search").status_code == 401
    copied = dashboard.client()
    copied.set_cookie("muster", cookie.value)
    assert copied.get("/muster/api/search").status_code == 401


def test_wrong_tokens_have_to_wait(opened: Callable[..., Opened]) -> None:
    dashboard = opened()
    client = dashboard.client()
    answers = [client.get("/?token=wrong").status_code for _ in range(8)]
    assert answers[:3] == [403] * 3
    assert answers[-1] == 429
    refused = client.get(path_of(dashboard.links[-1]))
    assert (refused.status_code, refused.headers["Retry-After"] > "0") == (429, True)


def test_health_is_bad_once_the_database_is_gone(sqlite_url: str) -> None:
    engine = sqlite_with_tables(path_in(sqlite_url))
    engine.dispose()
    dashboard = open_dashboard(sqlite_url)
    path_in(sqlite_url).write_bytes(b"no database at all" * 100)
    answer = dashboard.client().get("/healthz")
    assert answer.status_code == 503
    assert answer.get_json() == {
        "status": "unavailable",
        "reason": "the database does not answer",
    }
    refused = dashboard.log_in().get("/muster/api/search")
    assert refused.status_code == 503
    assert "not an SQLite database" in reason(refused)


def test_a_taken_port_is_named(show_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"127.0.0.1:{port}"):
            serve(show_url, port=port)


def test_a_port_out_of_range_is_named(show_url: str) -> None:
    with pytest.raises(UserError, match="70000"):
        serve(show_url, port=70000)


def test_the_server_needs_no_torch_answers_and_ends_on_sigterm(
    dashboard: Opened, show_url: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    code = (
        "import sys; from muster_dashboard.server import serve; "
        "assert 'torch' not in sys.modules; "
        f"serve({show_url!r}, port={port}, announce=lambda link: print(link, flush=True))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout is not None
            link = server.stdout.readline().strip()
            assert wait_for(f"http://127.0.0.1:{port}/healthz") == {"status": "ok"}
            browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
            with browser.open(link, timeout=10) as page:
                assert page.url.endswith("/muster/search")
        finally:
            os.kill(server.pid, signal.SIGTERM)
        _, said = server.communicate(timeout=DEADLINE_SECONDS)
        assert server.returncode == 0
        # The used link is worth nothing, and stands in no log anyway.
        assert "token" not in said


def path_in(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))


def wait_for(address: str) -> Any:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while True:
        try:
            with urllib.request.urlopen(address, timeout=5) as answer:
                return json.load(answer)
        except (urllib.error.URLError, ConnectionError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def test_any_request_releases_trials_whose_lease_has_run_out(sqlite_url: str) -> None:
    engine = sqlite_with_tables(path_in(sqlite_url))
    study = make_study(engine)
    run_out(engine, take(engine, study))
    assert Client(create_app(sqlite_url)).get("/healthz").status_code == 200
    assert progress(engine, study).waiting == 1
    engine.dispose()
