"""A dashboard in this process, and ways to ask it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from werkzeug.test import Client, TestResponse

from muster_dashboard.app import create_app
from muster_dashboard.settings import Access

OWN = {"Origin": "http://localhost"}


@dataclass
class Opened:
    """A dashboard: links as they were announced, the newest last."""

    app: Any
    links: list[str]

    def client(self) -> Client:
        """A browser that nobody knows yet."""
        return Client(self.app)

    def log_in(self, role: str = "admin") -> Client:
        """A browser that came in by a link."""
        admin = self.client()
        assert admin.get(path_of(self.links[-1])).status_code == 303
        if role == "admin":
            return admin
        made = admin.post(
            "/muster/links", data={"form": form_of(admin), "role": role}, headers=OWN
        )
        viewer = self.client()
        link = made.text.partition('<code id="link">')[2].partition("<")[0]
        assert viewer.get(path_of(link)).status_code == 303
        return viewer


def path_of(link: str) -> str:
    """The link without its host."""
    return link[link.index("/", len("http://")) :]


def form_of(client: Client) -> str:
    """The token of this browser's forms."""
    text = client.get("/muster/search").text
    return text.partition('name="form" value="')[2].partition('"')[0]


def reason(response: TestResponse) -> str:
    """Why something was refused, by the JSON that scripts get."""
    found = response.get_json()
    return str(found["reason"])


def open_dashboard(url: str, access: Access | None = None) -> Opened:
    """A dashboard over a database."""
    links: list[str] = []
    chosen = access or Access()
    app = create_app(url, chosen, address="http://localhost", announce=links.append)
    return Opened(app, links)
