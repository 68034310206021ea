from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from muster_worker.pacing import Phase, decide, missing_memory, rise_of
from muster_worker.probe import Probe
from muster_worker.readings import Memory, Reading

GIB = 2**30
ROOM = {"host": Memory(used=GIB, peak=GIB, free=100 * GIB)}
# By trial, the seconds that each of its epochs took in a slot.
Table = Mapping[int, Mapping[int, float]]


def phase(
    table: Table,
    *,
    noise: float = 0.0,
    seed: int = 0,
    count: int = 20,
    memory: Mapping[str, Memory] = ROOM,
) -> Phase:
    """A measured phase: by slot, its trials with the seconds of an epoch, give or take."""
    rng = np.random.default_rng(seed)
    made = Phase(tuple(table), seconds=20.0)
    for slot, trials in table.items():
        for trial, seconds in trials.items():
            factors = np.exp(rng.normal(0.0, noise, count))
            made.readings[slot] += [
                Reading(trial, epochs=1, seconds=seconds * factor, memory=memory)
                for factor in factors
            ]
    return made


def kind(before: Phase | None, now: Phase, *, most: int = 8) -> str:
    return decide(before, now, most=most).kind


@pytest.mark.parametrize(
    ("slower", "expected"),
    [(1.0, "more"), (1.5, "more"), (1.8, "more"), (1.9, "fewer"), (2.0, "fewer"), (4.0, "fewer")],
)
def test_second_slot_stays_only_if_both_train_a_tenth_more(slower: float, expected: str) -> None:
    before = phase({0: {7: 1.0}})
    assert kind(before, phase({0: {7: slower}, 1: {8: slower}})) == expected


def test_trials_are_compared_with_themselves_however_much_they_differ() -> None:
    before = phase({0: {7: 0.01}})
    # The new slot's trial has long epochs; the old one's pace says that nothing is lost.
    assert rise_of(before, phase({0: {7: 0.01}, 1: {8: 30.0}})) == pytest.approx(1.0)
    # It has short ones, and the old one's pace says that the device was full.
    before = phase({0: {7: 30.0}})
    assert rise_of(before, phase({0: {7: 60.0}, 1: {8: 0.01}})) == pytest.approx(0.0)


def test_short_trials_are_compared_by_all_epochs_a_second() -> None:
    before = phase({0: {1: 0.5, 2: 0.5}})
    now = phase({0: {3: 0.5, 4: 0.5}, 1: {5: 0.5, 6: 0.5}})
    assert rise_of(before, now) == pytest.approx(1.0)
    few = phase({0: {3: 0.5}, 1: {5: 0.5}})
    assert rise_of(before, few) == pytest.approx(0.0)


def test_slow_first_epoch_decides_nothing() -> None:
    before = phase({0: {7: 1.0}})
    now = phase({0: {7: 1.0}, 1: {8: 1.0}})
    now.readings[0].insert(0, Reading(7, epochs=1, seconds=500.0, memory=ROOM))
    assert kind(before, now) == "more"


@pytest.mark.parametrize(("slower", "expected"), [(1.4, "more"), (2.3, "fewer")])
def test_noise_of_a_fifth_does_not_change_what_is_decided(slower: float, expected: str) -> None:
    decisions = [
        kind(
            phase({0: {7: 1.0}}, noise=0.2, seed=seed),
            phase({0: {7: slower}, 1: {8: slower}}, noise=0.2, seed=1000 + seed),
        )
        for seed in range(100)
    ]
    assert decisions.count(expected) >= 97


def test_as_many_as_may_run_are_enough() -> None:
    before, now = phase({0: {7: 1.0}}), phase({0: {7: 1.0}, 1: {8: 1.0}})
    assert kind(before, now, most=2) == "stay"
    assert kind(before, now, most=3) == "more"


@pytest.mark.parametrize(
    ("memory", "missing"),
    [
        ({"host": Memory(GIB, 2 * GIB, 4 * GIB)}, ""),
        # 1.2 times the peak, and what this slot gave back and may need again.
        ({"host": Memory(GIB, 2 * GIB, 3 * GIB)}, "host needs 3.4 GiB, 3.0 GiB are free"),
        (
            {"host": Memory(GIB, GIB, 9 * GIB), "device": Memory(GIB, GIB, GIB)},
            "device needs 1.2 GiB, 1.0 GiB are free",
        ),
    ],
    ids=["room", "host full", "device full"],
)
def test_another_slot_needs_the_memory_of_the_largest(
    memory: Mapping[str, Memory], missing: str
) -> None:
    now = phase({0: {7: 1.0}}, memory=memory)
    assert missing_memory(now) == missing
    decision = decide(None, now, most=8)
    assert decision.kind == ("stay" if missing else "more")
    assert missing in decision.reason


def test_the_largest_slot_counts_for_all() -> None:
    small, large = Memory(GIB, GIB, 8 * GIB), Memory(4 * GIB, 4 * GIB, 7 * GIB)
    now = phase({0: {7: 1.0}, 1: {8: 1.0}}, memory={"device": small})
    assert missing_memory(now) == ""
    now.readings[1].append(Reading(8, 1, 1.0, memory={"device": large}))
    assert missing_memory(now) == "device needs 7.8 GiB, 7.0 GiB are free"


def test_probe_begins_a_phase_when_all_train_and_settles_once() -> None:
    probe = Probe(most=8, enough_seconds=10.0)
    reading = Reading(7, epochs=1, seconds=1.0, memory=ROOM)
    slowed = Reading(7, epochs=1, seconds=2.0, memory=ROOM)

    def say(slots: tuple[int, ...], said: Reading) -> None:
        for slot in slots:
            for _ in range(10):
                probe.take(slot, said)

    assert probe.judge((0,), now=0.0) is None
    say((0,), reading)
    assert probe.judge((0,), now=5.0) is None
    say((0,), reading)
    # Measured for 9 seconds only, then for 10.
    assert probe.judge((0,), now=14.0) is None
    found = probe.judge((0,), now=15.0)
    assert found is not None
    assert found.kind == "more"
    # The second starts: what the first says meanwhile counts nowhere.
    say((0,), slowed)
    assert probe.judge((0, 1), now=40.0) is None
    say((1,), slowed)
    assert probe.judge((0, 1), now=41.0) is None
    say((0, 1), slowed)
    found = probe.judge((0, 1), now=60.0)
    assert found is not None
    assert found.kind == "fewer"
    say((0,), reading)
    assert probe.judge((0,), now=90.0) is None


def test_probe_settles_when_a_slot_ends_by_itself() -> None:
    probe = Probe(most=8, enough_seconds=0.0)
    for slot in (0, 1):
        probe.take(slot, Reading(7, epochs=1, seconds=1.0, memory=ROOM))
    assert probe.judge((0, 1), now=0.0) is None
    assert probe.judge((0,), now=1.0) is None
    for _ in range(20):
        probe.take(0, Reading(7, epochs=1, seconds=1.0, memory=ROOM))
    assert probe.judge((0,), now=99.0) is None
