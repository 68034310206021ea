from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from benchmarks.servers import Server as MariaDb
from sqlalchemy import Engine, make_url

from muster.findings import Finding
from muster_db import checks, schema
from muster_db.checks import Server
from muster_db.engine import connect

USAGE = "GRANT USAGE ON *.* TO `u`@`%` IDENTIFIED BY PASSWORD '*secret'"
ALL = r"GRANT ALL PRIVILEGES ON `muster\_%`.* TO `u`@`%`"
WORKER = "GRANT SELECT, INSERT, UPDATE ON `muster_1`.`trials` TO `u`@`%`"
VIEWER = "GRANT SELECT (`a`, `b`), SHOW VIEW ON `muster_1`.`trials` TO `u`@`%`"


def test_a_sound_server_has_nothing_to_mend(mariadb_url: str) -> None:
    engine = connect(mariadb_url)
    schema.initialise(engine)
    kind, version = checks.read_version(engine)
    found = [
        checks.judge_version(kind, version),
        checks.judge_skew(checks.read_skew(engine)),
        *checks.judge_server(checks.read_server(engine), host="127.0.0.1"),
    ]
    engine.dispose()
    assert kind == "mariadb"
    assert [each.check for each in found] == [
        "server", "clock", "TLS", "grants", "collation", "max_allowed_packet", "connections"
    ]  # fmt: skip
    # The server's own default for new databases tells no case apart; muster's tables do.
    assert [each.check for each in found if each.status != "ok"] == ["collation"]
    assert found[3].found.startswith("all of the database")


def test_a_server_tells_a_viewer_from_who_may_work(mariadb: MariaDb, mariadb_url: str) -> None:
    engine = connect(mariadb_url)
    schema.initialise(engine)
    engine.dispose()
    name = make_url(mariadb_url).database
    with mariadb.connect(password="") as connection, connection.cursor() as cursor:
        cursor.execute("CREATE USER 'viewer'@'127.0.0.1' IDENTIFIED BY 'v'")
        cursor.execute(f"GRANT SELECT ON `{name}`.`trials` TO 'viewer'@'127.0.0.1'")
    as_viewer = make_url(mariadb_url).set(username="viewer", password="v")
    viewing = connect(as_viewer.render_as_string(hide_password=False))
    try:
        seen = checks.read_server(viewing)
    finally:
        viewing.dispose()
        with mariadb.connect(password="") as connection, connection.cursor() as cursor:
            cursor.execute("DROP USER 'viewer'@'127.0.0.1'")
    found = {each.check: each for each in checks.judge_server(seen, host="db")}
    assert found["grants"].status == "warn"
    assert "a viewer's" in found["grants"].found
    assert found["TLS"].status == "warn"


def test_sqlite_says_its_version_and_has_this_machines_clock(lite: Engine) -> None:
    assert checks.judge_version(*checks.read_version(lite)).status == "ok"
    behind = checks.read_skew(lite, here=lambda: datetime.now(UTC) - timedelta(minutes=10))
    assert behind == pytest.approx(-600, abs=30)


@pytest.mark.parametrize(
    ("finding", "status", "said"),
    [
        (checks.judge_version("mysql", "5.7.44-log"), "fail", "mysql 8.0 or newer"),
        (checks.judge_version("mysql", "8.4.3"), "ok", ""),
        (checks.judge_version("mariadb", "5.5.5-10.5.1-MariaDB"), "fail", "mariadb 10.6"),
        (checks.judge_version("mariadb", "11.4.2-MariaDB-ubu2404"), "ok", ""),
        (checks.judge_version("sqlite", "3.34.1"), "fail", "sqlite 3.35"),
        (checks.judge_skew(0.01), "ok", ""),
        (checks.judge_skew(-30.0), "warn", "NTP"),
        (checks.judge_skew(3600.0), "fail", "NTP"),
        (checks.judge_round_trip(0.001), "ok", ""),
        (checks.judge_round_trip(0.3), "warn", "nearer"),
        (checks.judge_round_trip(3.0), "fail", "nearer"),
        (checks.judge_tls("TLS_AES_256_GCM_SHA384", host="far"), "ok", ""),
        (checks.judge_tls("", host="localhost"), "ok", ""),
        (checks.judge_tls("", host="far"), "warn", "join token"),
        (checks.judge_packet(16 * 2**20), "ok", ""),
        (checks.judge_packet(2 * 2**20), "warn", "max_allowed_packet = 16M"),
        (checks.judge_packet(2**19), "fail", "max_allowed_packet = 16M"),
        (checks.judge_connections(151, 20), "ok", ""),
        (checks.judge_connections(151, 145), "warn", "max_connections"),
        (checks.judge_connections(151, 150), "fail", "max_connections"),
        (checks.judge_collations({"": "utf8mb4_bin", "trials": "utf8mb4_bin"}), "ok", ""),
        (checks.judge_collations({"": "utf8mb4_0900_ai_ci"}), "warn", "ALTER DATABASE"),
        (
            checks.judge_collations({"": "utf8mb4_bin", "trials": "utf8mb4_general_ci"}),
            "fail",
            "ALTER TABLE",
        ),
    ],
    ids=lambda value: value.check if isinstance(value, Finding) else None,
)
def test_each_reading_is_judged(finding: Finding, status: str, said: str) -> None:
    assert finding.status == status
    assert said in finding.mend
    assert bool(finding.mend) == (status != "ok")


@pytest.mark.parametrize(
    ("grants", "tables", "status", "said"),
    [
        ([USAGE, ALL], ["trials"], "ok", "make and upgrade"),
        ([USAGE, ALL], [], "ok", "make and upgrade"),
        (["GRANT ALL PRIVILEGES ON *.* TO `root`@`localhost`"], [], "ok", "make and upgrade"),
        ([USAGE, WORKER], ["trials"], "ok", "a worker's"),
        ([USAGE, VIEWER], ["trials"], "warn", "a viewer's"),
        ([USAGE], ["trials"], "fail", "may not read"),
        ([USAGE, "GRANT ALL PRIVILEGES ON `other`.* TO `u`@`%`"], [], "fail", "may not read"),
        ([USAGE, "GRANT `team`@`%` TO `u`@`%`"], [], "ok", "through a role"),
    ],
)
def test_grants_are_told_as_what_they_are_good_for(
    grants: Sequence[str], tables: Sequence[str], status: str, said: str
) -> None:
    found = checks.judge_grants(grants, database="muster_1", tables=tables)
    assert found.status == status
    assert said in found.found
    assert "secret" not in str(found)


def test_all_of_a_server_is_judged() -> None:
    server = Server("muster_1", "", 151, 149, 2**19, {"": "latin1_swedish_ci"}, [USAGE])
    assert {each.status for each in checks.judge_server(server, host="far")} == {"warn", "fail"}
