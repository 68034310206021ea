"""The pages in a real browser: they log in, update by themselves and stay on this machine."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import Engine
from werkzeug.serving import WSGIRequestHandler, make_server

from databases import sqlite_with_tables
from muster_dashboard.app import create_app
from muster_dashboard.settings import Access
from muster_db import trials
from muster_db.study import open_study
from shows import NAME, Show, make_show

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

NO_BROWSER = "no chromium here: install it to see the dashboard's pages in a browser"
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}
PATIENCE_MILLISECONDS = 30_000


class Silent(WSGIRequestHandler):
    """Writes no access log."""

    def log(self, type: str, message: str, *args: Any) -> None:
        """Say nothing."""


class Site:
    """A served dashboard. seen: what the browser complained of, and asked other hosts for."""

    def __init__(self, engine: Engine, browser: Browser, key: Path) -> None:
        self.links: list[str] = []
        self.seen: list[str] = []
        self.is_short = False
        self._browser = browser
        self._app: Any = None
        self._short: Any = None
        self._server = make_server(
            "127.0.0.1", 0, self._serve, threaded=True, request_handler=Silent
        )
        self.address = f"http://127.0.0.1:{self._server.port}"
        url = engine.url.render_as_string(hide_password=False)
        # One key, so that the one knows the other's cookies, and finds them too old.
        week, second = Access(key_file=key), Access(key_file=key, session_seconds=1)
        self._app = create_app(url, week, address=self.address, announce=self.links.append)
        self._short = create_app(url, second, address=self.address)
        Thread(target=self._server.serve_forever, daemon=True).start()

    def _serve(self, environ: Any, start_response: Any) -> Any:
        return (self._short if self.is_short else self._app)(environ, start_response)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def context(self, size: str) -> BrowserContext:
        width, height = SIZES[size]
        context = self._browser.new_context(viewport={"width": width, "height": height})
        context.set_default_timeout(PATIENCE_MILLISECONDS)
        return context

    def watch(self, page: Page) -> Page:
        page.on("console", lambda message: self._note(message.type, message.text))
        page.on("pageerror", lambda error: self.seen.append(str(error)))
        page.on("request", lambda request: self._note_request(request.url))
        return page

    def admin(self, context: BrowserContext) -> Page:
        page = self.watch(context.new_page())
        page.goto(self.links[-1])
        return page

    def _note(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.seen.append(text)

    def _note_request(self, url: str) -> None:
        if not url.startswith((self.address, "data:", "blob:")):
            self.seen.append(url)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium; skips where there is none, fails under CI=true."""
    found = shutil.which("chromium")
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail(NO_BROWSER)
        pytest.skip(NO_BROWSER)
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - starts a process

    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Engine, Show]]:
    engine = sqlite_with_tables(tmp_path_factory.mktemp("site") / "muster.db")
    yield engine, make_show(engine)
    engine.dispose()


@pytest.fixture(scope="module")
def site(
    searched: tuple[Engine, Show], browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    served = Site(searched[0], browser, tmp_path_factory.mktemp("key") / "key")
    yield served
    served.close()


@pytest.fixture(autouse=True)
def quiet(site: Site) -> Iterator[None]:
    """Nothing is complained of, and nothing leaves the host."""
    site.seen.clear()
    yield
    assert site.seen == []


def shoot(page: Page, name: str) -> None:
    """Leave a picture for people where PICTURES names a folder."""
    folder = os.environ.get("PICTURES")
    if folder:
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def test_a_stranger_pastes_a_link_and_a_wrong_one_lets_nobody_in(site: Site) -> None:
    context = site.context("phone")
    page = site.watch(context.new_page())
    page.goto(site.address)
    assert page.url == f"{site.address}/muster/login"
    shoot(page, "login")
    page.fill("input[name=token]", "wrong")
    page.click("button")
    assert "does not work" in page.inner_text("main")
    shoot(page, "refused")
    # Chromium itself tells the console of the status.
    assert [each for each in site.seen if "403" not in each] == []
    site.seen.clear()
    page.goto(f"{site.address}/muster/login")
    page.fill("input[name=token]", site.links[-1])
    page.click("button")
    page.wait_for_selector("#bar span")
    assert page.url == f"{site.address}/muster/search"
    context.close()


@pytest.mark.parametrize("size", SIZES)
def test_each_page_of_a_running_search_fits_and_updates(
    site: Site, searched: tuple[Engine, Show], size: str
) -> None:
    engine, show = searched
    context = site.context(size)
    page = site.admin(context)
    expected = {
        "search": "8 of 20",
        "workers": f"trial {show.held.number}",
        "ensemble": "0.8100",
        "dataset": "3 to 8 a sequence",
    }
    # The worker is alive.
    trials.extend(engine, show.held)
    for name, text in expected.items():
        page.goto(f"{site.address}/muster/{name}")
        page.get_by_text(text).first.wait_for()
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= SIZES[size][0]
        shoot(page, f"{name}-{size}")
    page.goto(f"{site.address}/muster/workers")
    score = 0.6 + len(site.links) / 1000
    trials.report(engine, show.held, [(3, score)])
    page.get_by_text(f"{score:.4f}").first.wait_for()
    context.close()


def test_an_expired_cookie_leads_an_open_page_back_to_the_login(site: Site) -> None:
    context = site.context("desktop")
    page = site.admin(context)
    page.get_by_text("8 of 20").wait_for()
    site.is_short = True
    try:
        page.wait_for_url(f"{site.address}/muster/login")
    finally:
        site.is_short = False
    assert [each for each in site.seen if "401" not in each] == []
    site.seen.clear()
    context.close()


def test_optuna_dashboard_is_beside_it_and_a_viewers_delete_is_refused(
    site: Site, searched: tuple[Engine, Show]
) -> None:
    context = site.context("desktop")
    page = site.admin(context)
    page.goto(f"{site.address}/muster/links")
    page.click("text=Make a link for a viewer")
    link = page.inner_text("#link")
    shoot(page, "links")
    context.close()
    context = site.context("desktop")
    viewer = site.watch(context.new_page())
    viewer.goto(link)
    viewer.get_by_text("8 of 20").wait_for()
    assert viewer.locator("text=Stop the study").count() == 0
    viewer.click("text=optuna-dashboard")
    viewer.get_by_text("Hyperparameter Importance").first.wait_for()
    shoot(viewer, "optuna")
    refused = viewer.evaluate(
        "fetch('/api/studies/1', {method: 'DELETE'}).then(async r => [r.status, await r.text()])"
    )
    assert refused[0] == 403
    assert "viewers only look" in refused[1]
    assert open_study(searched[0], NAME).name == NAME
    assert [each for each in site.seen if "403" not in each] == []
    site.seen.clear()
    viewer.goto(f"{site.address}/dashboard/studies/1/trials?numbers=0")
    viewer.get_by_text("confusion.svg").first.wait_for()
    shoot(viewer, "trial")
    viewer.click("#muster-bridge")
    viewer.wait_for_url(f"{site.address}/muster/search")
    context.close()
