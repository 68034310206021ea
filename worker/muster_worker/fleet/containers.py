"""Workers in containers: started, listed, scaled, heard and ended on one engine."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from muster.errors import UserError
from muster_worker.fleet.engine import LOCAL, said_of
from muster_worker.fleet.luggage import FOLDER, Luggage

LABEL: Final = "muster.fleet"
STUDY: Final = "muster.study"
ALL_STUDIES: Final = "(all open ones)"
# A worker has saved and given its trial back within 10 s.
STOP_SECONDS: Final = 15
RETRIES: Final = 5
AT_ONCE: Final = 8
SHORT: Final = 12


@dataclass(frozen=True)
class Order:
    """What each worker of a fleet is started with.

    fleet: its name, by which an engine's workers of one are told from others'. gpus: None, "all",
    or ids of which each worker takes the next. options: of `muster worker`.
    """

    fleet: str
    image: str
    luggage: Luggage
    options: Sequence[str] = ()
    study: str | None = None
    gpus: str | None = None
    network: str = "bridge"
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Member:
    """One container. state: running, or how it ended. says: the last line of its log."""

    engine: str
    name: str
    state: str
    study: str
    image: str
    says: str


def up(client: Any, address: str, order: Order, *, workers: int) -> list[str]:
    """Start so many workers more; returns the containers' names. All start, or none stays."""
    started: list[Any] = []
    try:
        with said_of(address):
            _require_image(client, address, order.image)
            for number in range(workers):
                container = client.containers.create(**_request(order, number))
                started.append(container)
                container.put_archive("/", order.luggage.packed())
                container.start()
    except BaseException:
        for container in started:
            with suppress(Exception):
                container.remove(force=True)
        raise
    return [container.name for container in started]


def send_image(client: Any, source: Any, address: str, image: str) -> None:
    """Copy an image from another engine to this one. Raises UserError where it is not there."""
    with said_of(LOCAL):
        _require_image(source, LOCAL, image)
        stream = source.images.get(image).save(named=True)
    with said_of(address):
        client.images.load(stream)


def members(client: Any, address: str, *, fleet: str) -> list[Member]:
    """The fleet's workers there, the oldest first."""
    with said_of(address):
        return [_member(address, each) for each in _containers(client, fleet)]


def scale(client: Any, address: str, *, fleet: str, workers: int) -> tuple[list[str], list[str]]:
    """Have so many run: more of the same, or the newest ended; names of started and ended.

    Raises UserError where no worker is there to go by.
    """
    with said_of(address):
        there = _containers(client, fleet)
        running = [each for each in there if each.status in ("running", "restarting", "created")]
        if not there:
            raise UserError(f"{address}: no worker to go by; start one with `muster fleet up`")
    if workers < len(running):
        leaving = running[workers:]
        _end(address, leaving)
        return [], [each.name for each in leaving]
    started: list[Any] = []
    with said_of(address):
        for number in range(len(running), workers):
            started.append(_another(client, there[-1], number))
    return [each.name for each in started], []


def logs(client: Any, address: str, *, fleet: str, lines: int) -> dict[str, list[str]]:
    """The last lines that each worker logged, by its container's name."""
    with said_of(address):
        return {
            each.name: each.logs(tail=lines).decode(errors="replace").splitlines()
            for each in _containers(client, fleet)
        }


def down(client: Any, address: str, *, fleet: str) -> list[str]:
    """End and remove all workers there; their trials go on elsewhere. Returns their names."""
    with said_of(address):
        there = _containers(client, fleet)
    _end(address, there)
    return [each.name for each in there]


def _request(order: Order, number: int) -> dict[str, Any]:
    """What the engine is asked for; no secret, for it tells everybody who asks."""
    command = ["worker", *(["--study", order.study] if order.study else []), *order.options]
    return {
        "image": order.image,
        "command": command,
        "name": f"muster-fleet-{uuid.uuid4().hex[:SHORT]}",
        "environment": {**order.environment, **order.luggage.environment},
        "labels": {LABEL: order.fleet, STUDY: order.study or ALL_STUDIES},
        "init": True,
        "network_mode": order.network,
        "device_requests": _gpus(order.gpus, number),
        "restart_policy": {"Name": "on-failure", "MaximumRetryCount": RETRIES},
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
    }


def _gpus(gpus: str | None, number: int) -> list[dict[str, Any]]:
    if gpus is None:
        return []
    request: dict[str, Any] = {"Driver": "", "Capabilities": [["gpu"]], "Options": {}}
    if gpus == "all":
        return [{**request, "Count": -1, "DeviceIDs": []}]
    ids = [each.strip() for each in gpus.split(",")]
    return [{**request, "Count": 0, "DeviceIDs": [ids[number % len(ids)]]}]


def _another(client: Any, like: Any, number: int) -> Any:
    """A container like another one, secrets included: they are where only the engine has them."""
    config, host = like.attrs["Config"], like.attrs["HostConfig"]
    container = client.containers.create(
        image=config["Image"],
        command=config["Cmd"],
        name=f"muster-fleet-{uuid.uuid4().hex[:SHORT]}",
        environment=config["Env"],
        labels=config["Labels"],
        init=True,
        network_mode=host["NetworkMode"],
        device_requests=host.get("DeviceRequests") or [],
        restart_policy=host["RestartPolicy"],
        cap_drop=host["CapDrop"],
        security_opt=host["SecurityOpt"],
    )
    try:
        chunks, _ = like.get_archive(str(FOLDER))
        container.put_archive(str(FOLDER.parent), b"".join(chunks))
        container.start()
    except BaseException:
        with suppress(Exception):
            container.remove(force=True)
        raise
    return container


def _containers(client: Any, fleet: str) -> list[Any]:
    found = client.containers.list(all=True, filters={"label": f"{LABEL}={fleet}"})
    return sorted(found, key=lambda each: str(each.attrs["Created"]))


def _member(address: str, container: Any) -> Member:
    state = container.attrs["State"]
    ended = f"exited ({state['ExitCode']})"
    lines = container.logs(tail=1).decode(errors="replace").splitlines()
    return Member(
        engine=address,
        name=container.name,
        state=ended if state["Status"] == "exited" else state["Status"],
        study=container.labels.get(STUDY, ""),
        image=container.attrs["Config"]["Image"],
        says=lines[-1] if lines else "",
    )


def _end(address: str, containers: Sequence[Any]) -> None:
    """Stop side by side, each with the time to give its trial back, and remove."""

    def end(container: Any) -> None:
        container.stop(timeout=STOP_SECONDS)
        container.remove(force=True)

    with said_of(address), ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(end, containers))


def _require_image(client: Any, address: str, image: str) -> None:
    if not client.images.list(name=image):
        raise UserError(
            f"{address}: there is no image {image}; copy this machine's there with --send, or "
            f"build it there from the repository: docker{_at(address)} build -f worker/Dockerfile "
            f"-t {image} ."
        )


def _at(address: str) -> str:
    return "" if address == LOCAL else f" -H {address}"
