from __future__ import annotations

import os
from collections.abc import Iterator
from threading import Event

import pytest

from muster_worker import readings
from muster_worker.readings import Memory, Reading, Reporter

Pipe = tuple[int, int]
MEMORY = {"host": Memory(1, 2, 3), "device": Memory(4, 5, 6)}


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    """Both ends of a pipe, each closed where a test has not done it."""
    ends = os.pipe()
    yield ends
    for end in ends:
        try:
            os.close(end)
        except OSError:
            continue


def read(pipe: Pipe) -> list[Reading]:
    os.set_blocking(pipe[0], False)
    return [Reading.from_line(line) for line in os.read(pipe[0], 2**20).splitlines()]


def test_line_brings_a_reading_back_whole() -> None:
    for reading in (Reading(7, 3, 0.25, MEMORY), Reading(ran_out=4), Reading(message="ü\n: no")):
        line = reading.to_line()
        assert (line.count(b"\n"), line[-1:]) == (1, b"\n")
        assert Reading.from_line(line) == reading


def test_short_epochs_travel_together_and_each_trial_by_itself(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    reporter = Reporter(pipe[1])
    reporter.gauge = lambda: MEMORY
    reporter.epoch(1, 0.5)
    reporter.epoch(2, 0.25)
    reporter.epoch(2, 0.25)
    monkeypatch.setattr(readings, "LINE_SECONDS", 0.0)
    reporter.epoch(2, 0.5)
    reporter.epoch(2, 2.0)
    assert read(pipe) == [Reading(2, 3, 1.0, MEMORY), Reading(2, 1, 2.0, MEMORY)]


def test_training_never_waits_for_a_supervisor_that_is_behind_or_gone(pipe: Pipe) -> None:
    reporter = Reporter(pipe[1])
    for number in range(5000):
        reporter.ran_out(number)
    said = read(pipe)
    assert 100 < len(said) < 5000
    assert [reading.ran_out for reading in said] == [*range(len(said))]
    os.close(pipe[0])
    reporter.ran_out(1)
    reporter.end("nobody hears this")


def test_slot_is_asked_to_stop_once_its_supervisor_has_gone(pipe: Pipe) -> None:
    stop = Event()
    Reporter(pipe[1]).stop_when_alone(stop)
    assert not stop.wait(0.1)
    os.close(pipe[0])
    assert stop.wait(10.0)
