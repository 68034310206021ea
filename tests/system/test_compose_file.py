from __future__ import annotations

from pathlib import Path

import yaml

FILE = Path(__file__).parents[2] / "docker-compose.yml"


def test_no_image_that_is_built_here_is_looked_for_in_a_registry() -> None:
    services = yaml.safe_load(FILE.read_text(encoding="utf-8"))["services"]
    ours = {name: each for name, each in services.items() if "PROJECT_NAME" in each["image"]}
    assert set(ours) == {"migrate", "admin", "study", "worker", "ensemble", "dashboard"}
    assert {each["pull_policy"] for each in ours.values()} == {"never"}
    built = {each["image"] for each in ours.values() if "build" in each}
    assert {each["image"] for each in ours.values()} == built


def test_the_database_is_open_beyond_this_machine_only_where_that_is_asked_for() -> None:
    database = yaml.safe_load(FILE.read_text(encoding="utf-8"))["services"]["db"]
    assert "ports" not in database
    assert database["extends"]["file"] == "db/public-${MUSTER_PUBLIC:-0}.yml"
    ports = [
        yaml.safe_load((FILE.parent / "db" / f"public-{number}.yml").read_text(encoding="utf-8"))
        for number in (0, 1)
    ]
    private, public = (each["services"]["db"]["ports"] for each in ports)
    assert private == ["127.0.0.1:${MUSTER_DB_PORT:-3306}:3306"]
    assert public == ["${MUSTER_DB_PORT:-3306}:3306"]


def test_the_database_never_starts_without_tls() -> None:
    database = yaml.safe_load(FILE.read_text(encoding="utf-8"))["services"]["db"]
    assert "--require-secure-transport=ON" in database["command"]
    assert sum(option.startswith("--ssl-") for option in database["command"]) == 3


def test_the_admins_password_is_mounted_into_the_database_and_one_tool_alone() -> None:
    services = yaml.safe_load(FILE.read_text(encoding="utf-8"))["services"]
    mounting = {
        name
        for name, each in services.items()
        if any(str(volume).startswith("admin:") for volume in each.get("volumes", ()))
    }
    assert mounting == {"secrets", "db", "admin"}
    assert services["admin"]["profiles"] == ["tools"]
