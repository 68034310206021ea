from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Engine

from muster.settings import Settings
from muster_db.study import Study
from muster_worker.machine import Machine
from muster_worker.room import Room


def test_studies_on_one_dataset_hold_it_once(
    engine: Engine, make_study: Callable[..., Study], settings: Settings, machine: Machine
) -> None:
    for name in ("one", "two"):
        make_study(name=name)
    room = Room(engine, study_name=None, machine=machine, settings=settings, pulse=lambda: None)
    room.claim(ahead=False)
    one, two = (desk.context.dataset for desk in room.desks.values())
    assert one is two
