from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "deploy" / "swarm" / "stack.py"
# Swarm's own words for a service, as far as the compose file's services use any.
KNOWN = {
    "image", "command", "entrypoint", "environment", "volumes", "healthcheck", "init", "user",
    "stop_grace_period", "cap_drop", "deploy", "networks",
}  # fmt: skip


def converted(config: dict[str, Any]) -> dict[str, Any]:
    spec = importlib.util.spec_from_file_location("stack_of_swarm", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: dict[str, Any] = module.stack(config, node="n1")
    return found


def test_the_compose_file_becomes_a_stack_of_what_swarm_knows() -> None:
    config = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    # Mounts in their short form are long in what `docker compose config` prints.
    for each in config["services"].values():
        each["volumes"] = [mount for mount in each.get("volumes", []) if isinstance(mount, dict)]
    stack = converted(config)
    assert set(stack) == {"version", "services", "volumes", "networks"}
    assert set(stack["volumes"]) == set(config["volumes"])
    everywhere = {name for name, each in config["services"].items() if "profiles" not in each}
    assert set(stack["services"]) == everywhere
    for each in stack["services"].values():
        assert set(each) <= KNOWN
        assert set(each["networks"]) == set(stack["networks"])
        assert each["deploy"]["placement"] == {"constraints": ["node.id == n1"]}


def test_who_comes_too_early_is_started_again_and_who_serves_runs_for_ever() -> None:
    services = {
        "db": {"image": "mysql", "restart": "unless-stopped", "ports": ["127.0.0.1:1:1"]},
        "study": {"image": "muster", "depends_on": {"db": {"condition": "service_healthy"}}},
        "admin": {"image": "muster", "profiles": ["tools"]},
    }
    found = converted({"services": services})["services"]
    assert set(found) == {"db", "study"}
    conditions = {
        name: each["deploy"]["restart_policy"]["condition"] for name, each in found.items()
    }
    assert conditions == {"db": "any", "study": "on-failure"}
    assert "ports" not in found["db"]


def test_a_mount_keeps_what_swarm_knows() -> None:
    mount = {
        "type": "bind", "source": "/a", "target": "/b", "read_only": True,
        "bind": {"create_host_path": False},
    }  # fmt: skip
    found = converted({"services": {"db": {"image": "mysql", "volumes": [mount]}}})
    assert found["services"]["db"]["volumes"] == [
        {"type": "bind", "source": "/a", "target": "/b", "read_only": True}
    ]
