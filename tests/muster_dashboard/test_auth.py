from __future__ import annotations

import base64
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from dashboards import OWN, Opened, reason
from muster.errors import UserError
from muster.settings import load_settings
from muster_dashboard import auth
from muster_dashboard.auth import Links, Sessions
from muster_dashboard.settings import access_of
from muster_dashboard.throttle import FREE, FREE_OVER_ALL, LONGEST_WAIT_SECONDS, Throttle

ALICE = {"password": "tröt:zig"}


class Clock:
    """Seconds that go on when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def users_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("users") / "users.txt"
    hashed = auth.hash_password(ALICE["password"])
    path.write_text(f"# who may look\nalice:admin:{hashed}\nbob:viewer:{hashed}\n")
    return path


def given(name: str, password: str) -> dict[str, str]:
    coded = base64.b64encode(f"{name}:{password}".encode()).decode()
    return {"Authorization": f"Basic {coded}"}


def test_a_link_works_once_and_not_after_its_time() -> None:
    clock = Clock()
    links = Links(clock)
    token, late = links.make("viewer"), links.make("admin", seconds=10)
    assert links.redeem("other") is None
    assert (links.redeem(token), links.redeem(token)) == ("viewer", None)
    clock.now += 11
    assert links.redeem(late) is None


def test_links_that_nobody_uses_do_not_pile_up() -> None:
    links = Links()
    lasting = links.make("admin")
    oldest = links.make("viewer", seconds=100)
    newest = [links.make("viewer", seconds=100) for _ in range(auth.MOST_LINKS)][-1]
    assert links.redeem(oldest) is None
    assert (links.redeem(newest), links.redeem(lasting)) == ("viewer", "admin")


def test_a_cookie_that_is_altered_or_another_servers_is_nobodys() -> None:
    sessions = Sessions(b"k" * 32, seconds=60)
    value = sessions.begin("viewer", "viewer")
    person = sessions.read(value)
    assert person is not None
    assert (person.name, person.is_admin) == ("viewer", False)
    content, _, rest = value.partition(".")
    raised = base64.urlsafe_b64encode(
        base64.urlsafe_b64decode(content + "==").replace(b"viewer", b"admin")
    )
    assert sessions.read(f"{raised.decode().rstrip('=')}.{rest}") is None
    assert sessions.read(value[:-1]) is None
    assert Sessions(b"o" * 32, seconds=60).read(value) is None


def test_an_expired_cookie_leads_to_the_login(opened: Callable[..., Opened]) -> None:
    dashboard = opened(session_seconds=1)
    stale = Sessions(b"k" * 32, seconds=60)
    client = dashboard.client()
    client.set_cookie("muster", stale.begin("admin", "admin"))
    assert (
        client.get("/muster/search", headers={"Accept": "text/html"}).location == "/muster/login"
    )


def test_a_password_lets_in_by_role(opened: Callable[..., Opened], users_file: Path) -> None:
    client = opened(login="basic", users_file=users_file).client()
    asked = client.get("/muster/api/search")
    assert (asked.status_code, asked.headers["WWW-Authenticate"][:5]) == (401, "Basic")
    path = "/muster/api/search"
    assert client.get(path, headers=given("alice", ALICE["password"])).status_code == 200
    assert client.get(path, headers=given("alice", "wrong")).status_code == 401
    assert client.get(path, headers=given("nobody", ALICE["password"])).status_code == 401
    assert client.get(path, headers={"Authorization": "Basic ?"}).status_code == 401
    assert (
        client.get("/muster/links", headers=given("alice", ALICE["password"])).status_code == 200
    )
    assert client.get("/muster/links", headers=given("bob", ALICE["password"])).status_code == 403
    assert client.get("/?token=x", headers=given("bob", ALICE["password"])).status_code == 303


def test_only_the_proxys_own_address_is_believed(opened: Callable[..., Opened]) -> None:
    client = opened(
        login="proxy",
        proxy_header="X-Forwarded-User",
        proxy_networks=("10.1.0.0/16",),
        admins=frozenset({"alice"}),
    ).client()

    def ask(address: str, name: str) -> int:
        named = {"X-Forwarded-User": name}
        seen = {"REMOTE_ADDR": address}
        return client.get("/muster/links", headers=named, environ_overrides=seen).status_code

    assert ask("10.1.2.3", "alice") == 200
    assert ask("10.1.2.3", "bob") == 403
    assert ask("10.1.2.3", " ") == 401
    assert ask("10.2.0.1", "alice") == 401
    assert ask("no address", "alice") == 401


def test_metrics_can_be_read_with_a_token_of_their_own(opened: Callable[..., Opened]) -> None:
    client = opened(metrics_token="scrape").client()
    assert client.get("/metrics").status_code == 401
    assert client.get("/metrics", headers={"Authorization": "Bearer wrong"}).status_code == 401
    scraped = client.get("/metrics", headers={"Authorization": "Bearer scrape"})
    assert scraped.status_code == 200, scraped.text
    assert 'state="complete"} 6' in scraped.text
    assert (
        client.get("/api/studies", headers={"Authorization": "Bearer scrape"}).status_code == 401
    )


def test_waits_double_by_address_and_are_short_over_all() -> None:
    clock = Clock()
    throttle = Throttle(clock)
    for _ in range(FREE - 1):
        throttle.failed("here")
    assert throttle.wait_seconds("here") == 0
    waits = []
    for _ in range(3):
        throttle.failed("here")
        waits.append(throttle.wait_seconds("here"))
    assert waits == [1, 2, 4]
    assert throttle.wait_seconds("there") == 0
    for _ in range(60):
        throttle.failed("here")
    assert throttle.wait_seconds("here") == LONGEST_WAIT_SECONDS
    throttle.succeeded("here")
    assert throttle.wait_seconds("here") == 0
    for n in range(FREE_OVER_ALL):
        throttle.failed(f"host {n}")
    assert 0 < throttle.wait_seconds("there") <= 10
    clock.now += 1000
    throttle.failed("here")
    assert throttle.wait_seconds("there") == 0


def test_a_bad_users_file_is_refused_with_every_bad_line(tmp_path: Path) -> None:
    path = tmp_path / "users"
    with pytest.raises(UserError, match="No such file"):
        auth.read_users(path)
    path.write_text("alice:admin:plain\nbob:owner:scrypt:1$s$h\nc:viewer:m$s$h\nc:viewer:m$s$h\n")
    with pytest.raises(UserError) as refused:
        auth.read_users(path)
    said = str(refused.value)
    assert all(word in said for word in ("line 1", "line 2", "names c again", "--new-user"))
    assert "plain" not in said
    path.write_text("# nobody\n")
    with pytest.raises(UserError, match="names nobody"):
        auth.read_users(path)


def test_a_key_file_is_made_for_its_owner_alone_and_used_again(tmp_path: Path) -> None:
    path = tmp_path / "key"
    key = auth.read_key(path)
    assert auth.read_key(path) == key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_text("short")
    with pytest.raises(UserError, match="remove it"):
        auth.read_key(path)


def test_settings_of_the_dashboard_are_checked_at_once(tmp_path: Path) -> None:
    empty = tmp_path / "token"
    empty.write_text("\n")
    with pytest.raises(UserError) as refused:
        access_of(
            load_settings(
                {
                    "MUSTER_DASHBOARD_LOGIN": "proxy",
                    "MUSTER_DASHBOARD_URL": "team.example",
                    "MUSTER_DASHBOARD_PROXY_ADDRESS": "10.0.0.1,proxy",
                }
            )
        )
    said = str(refused.value)
    assert all(word in said for word in ("_URL", "PROXY_HEADER", "'proxy' is neither"))
    with pytest.raises(UserError, match="USERS_FILE"):
        access_of(load_settings({"MUSTER_DASHBOARD_LOGIN": "basic"}))
    for path in (empty, tmp_path / "none"):
        with pytest.raises(UserError, match="METRICS_TOKEN_FILE"):
            access_of(load_settings({"MUSTER_DASHBOARD_METRICS_TOKEN_FILE": str(path)}))
    empty.write_text("secret\n")
    found = access_of(
        load_settings(
            {
                "MUSTER_DASHBOARD_METRICS_TOKEN_FILE": str(empty),
                "MUSTER_DASHBOARD_URL": "https://Team.example:8443/",
                "MUSTER_DASHBOARD_ADMINS": "alice, bob",
            }
        )
    )
    assert (found.metrics_token, found.admins) == ("secret", frozenset({"alice", "bob"}))
    assert found.origin == "https://team.example:8443"


def test_a_proxys_address_counts_as_our_own_only_where_a_setting_says_so(
    opened: Callable[..., Opened],
) -> None:
    public = {"Origin": "https://team.example"}
    refused = opened().log_in().post("/muster/logout", headers=public)
    assert (refused.status_code, "MUSTER_DASHBOARD_URL" in reason(refused)) == (403, True)
    dashboard = opened(address="https://team.example")
    client = dashboard.client()
    client.post(
        "/muster/login", data={"token": dashboard.links[-1]}, headers=public, base_url="https://x"
    )
    assert client.get("/muster/api/search", base_url="https://x").status_code == 200
    assert OWN["Origin"] != public["Origin"]
