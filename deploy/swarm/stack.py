"""From `docker compose config --format json` to what `docker stack deploy` takes.

Swarm knows neither the order of the services, nor builds, nor ports on 127.0.0.1 alone. So a
service that comes too early fails and is started again; images are built before; and no port is
published. Volumes are a node's own, so that all services stay on the node that is named.
"""

from __future__ import annotations

import json
import sys
from typing import Any

# What Swarm refuses, or ignores with a warning.
UNKNOWN = frozenset({
    "build", "depends_on", "extends", "network_mode", "networks", "ports", "profiles",
    "pull_policy", "restart", "security_opt",
})  # fmt: skip
MOUNT = frozenset({"type", "source", "target", "read_only"})
NETWORK = "stack"
RETRY_SECONDS = 3


def stack(config: dict[str, Any], *, node: str) -> dict[str, Any]:
    """The same services, volumes and networks for Swarm, on that node."""
    services = {
        name: service(each, node=node)
        for name, each in config["services"].items()
        if not each.get("profiles")
    }
    volumes = {name: {} for name in config.get("volumes", {})}
    return {
        "version": "3.8",
        "services": services,
        "volumes": volumes,
        # Not default: docker compose's network of that name is another kind.
        "networks": {NETWORK: {"driver": "overlay", "attachable": True}},
    }


def service(known: dict[str, Any], *, node: str) -> dict[str, Any]:
    """One service. Who is to run for ever is started again however it ends."""
    kept = {key: value for key, value in known.items() if key not in UNKNOWN and value is not None}
    if "volumes" in kept:
        kept["volumes"] = [_mount(each) for each in kept["volumes"]]
    runs_for_ever = known.get("restart") in ("always", "unless-stopped")
    kept["networks"] = [NETWORK]
    kept["deploy"] = {
        # By name, not through Swarm's own load balancer, which drops connections that idle.
        "endpoint_mode": "dnsrr",
        "replicas": known.get("deploy", {}).get("replicas", 1),
        "placement": {"constraints": [f"node.id == {node}"]},
        "restart_policy": {
            "condition": "any" if runs_for_ever else "on-failure",
            "delay": f"{RETRY_SECONDS}s",
        },
    }
    return kept


def _mount(mount: dict[str, Any]) -> dict[str, Any]:
    return {
        key: value
        for key, value in mount.items()
        if key in ("type", "source", "target", "read_only")
    }


if __name__ == "__main__":
    json.dump(stack(json.load(sys.stdin), node=sys.argv[1]), sys.stdout, indent=2)
