from __future__ import annotations

import pytest
import torch

from muster_db.workers import Equipment
from muster_worker.equipment import describe, equipment_of
from muster_worker.machine import Machine
from muster_worker.speed import steps_per_second

CPU = torch.device("cpu")
MACHINE = Machine("here", 1, CPU, 2, "CPU, 2 threads", memory_bytes=16 * 2**30)


def test_a_probe_ends_when_there_is_a_trial_and_leaves_the_random_state() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    asked: list[bool] = []

    def is_enough() -> bool:
        asked.append(True)
        return len(asked) == 2

    speed = steps_per_second(CPU, seconds=60.0, is_enough=is_enough)
    assert speed is not None
    assert speed > 0
    assert len(asked) == 2
    assert torch.equal(torch.get_rng_state(), before)


def test_a_trial_that_is_there_already_waits_for_one_step() -> None:
    assert steps_per_second(CPU, seconds=60.0, is_enough=lambda: True) is not None


def test_a_device_that_refuses_has_no_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> float:
        raise torch.OutOfMemoryError("no memory")

    monkeypatch.setattr("muster_worker.speed._measure", refuse)
    assert steps_per_second(CPU, seconds=1.0, is_enough=lambda: True) is None


def test_a_machine_is_described_by_what_is_known() -> None:
    known = equipment_of(MACHINE)
    assert known == Equipment(memory_bytes=16 * 2**30)
    assert describe(MACHINE, known) == "CPU, 2 threads, 16 GiB of memory, one trial at a time"
    measured = Equipment(3, None, 211.7, 0.00123)
    assert describe(MACHINE, measured) == (
        "CPU, 2 threads, slot 3, 212 training steps a second by a probe, "
        "1.2 ms to the database and back"
    )
