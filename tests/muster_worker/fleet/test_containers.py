"""What an engine is asked for. A real one is asked in tests/system/test_compose.py."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import docker.errors
import pytest

from muster.errors import UserError
from muster_worker.fleet import containers
from muster_worker.fleet.containers import Order
from muster_worker.fleet.luggage import Luggage

LUGGAGE = Luggage({"MUSTER_JOIN": "/run/muster/join"}, {"join": b"mysql://ann:s3cret@db/m"})


class Engine:
    """Remembers what it was asked for. images: that it has. bad: which will not start."""

    def __init__(self, *images: str, bad: int | None = None) -> None:
        self.asked: list[dict[str, Any]] = []
        self.removed: list[str] = []
        self.bad = bad
        self.images = SimpleNamespace(list=lambda name: [each for each in images if each == name])
        self.containers = SimpleNamespace(create=self._create, list=lambda **_: [])

    def _create(self, **request: Any) -> Any:
        number = len(self.asked)
        self.asked.append(request)

        def start() -> None:
            if number == self.bad:
                raise docker.errors.APIError("x", explanation="could not select device driver")

        return SimpleNamespace(
            name=request["name"],
            put_archive=lambda path, data: None,
            start=start,
            remove=lambda force: self.removed.append(request["name"]),
        )


def test_workers_are_started_without_rights_and_without_a_secret_in_sight() -> None:
    engine = Engine("muster-worker")
    order = Order("f", "muster-worker", LUGGAGE, ["--slots", "2"], study="s", network="host")
    names = containers.up(engine, "local", order, workers=2)
    assert [each["name"] for each in engine.asked] == names
    assert len(set(names)) == 2
    asked = engine.asked[0]
    assert asked["command"] == ["worker", "--study", "s", "--slots", "2"]
    assert asked["restart_policy"]["Name"] == "on-failure"
    assert (asked["cap_drop"], asked["network_mode"]) == (["ALL"], "host")
    assert asked["labels"] == {"muster.fleet": "f", "muster.study": "s"}
    assert "s3cret" not in str(engine.asked)


@pytest.mark.parametrize(
    ("gpus", "devices"),
    [
        (None, [[], [], []]),
        ("all", [[(-1, [])], [(-1, [])], [(-1, [])]]),
        ("0,1", [[(0, ["0"])], [(0, ["1"])], [(0, ["0"])]]),
    ],
)
def test_gpus_are_all_for_each_or_one_in_turn(gpus: str | None, devices: list[Any]) -> None:
    engine = Engine("i")
    containers.up(engine, "local", Order("f", "i", LUGGAGE, gpus=gpus), workers=3)
    asked = [
        [(each["Count"], each["DeviceIDs"]) for each in request["device_requests"]]
        for request in engine.asked
    ]
    assert asked == devices


def test_of_workers_that_do_not_all_start_none_stays() -> None:
    engine = Engine("i", bad=1)
    with pytest.raises(UserError, match="no GPU for --gpus"):
        containers.up(engine, "ssh://box", Order("f", "i", LUGGAGE, gpus="all"), workers=2)
    assert engine.removed == [each["name"] for each in engine.asked]


def test_an_image_that_is_not_there_is_told_with_both_ways_to_bring_it() -> None:
    with pytest.raises(UserError, match=r"no image i; .*--send.*docker -H ssh://box build"):
        containers.up(Engine(), "ssh://box", Order("f", "i", LUGGAGE), workers=1)


def test_there_is_nothing_to_scale_where_no_worker_is() -> None:
    with pytest.raises(UserError, match="muster fleet up"):
        containers.scale(Engine(), "local", fleet="f", workers=2)
