"""What a worker found on its machine, for the database and in one line for people."""

from __future__ import annotations

from dataclasses import replace

from muster_db.workers import Equipment
from muster_worker.machine import Machine

GIBIBYTE = 2**30


def equipment_of(machine: Machine) -> Equipment:
    """What is known before anything is measured."""
    return Equipment(slot=machine.slot, memory_bytes=machine.memory_bytes)


def measured(
    machine: Machine, *, steps_per_second: float | None, round_trip_seconds: float | None
) -> Equipment:
    """The same with what a probe and the way to the database took."""
    return replace(
        equipment_of(machine),
        steps_per_second=steps_per_second,
        round_trip_seconds=round_trip_seconds,
    )


def describe(machine: Machine, equipment: Equipment) -> str:
    """Device, memory, slot, speed and the way to the database; what is not known is left out."""
    found = [machine.description]
    if machine.device.type != "cuda" and equipment.memory_bytes is not None:
        found.append(f"{equipment.memory_bytes / GIBIBYTE:.0f} GiB of memory")
    found.append("one trial at a time" if equipment.slot is None else f"slot {equipment.slot}")
    if (speed := equipment.steps_per_second) is not None:
        found.append(f"{speed:.3g} training steps a second by a probe")
    if (seconds := equipment.round_trip_seconds) is not None:
        found.append(f"{seconds * 1000:.2g} ms to the database and back")
    return ", ".join(found)
