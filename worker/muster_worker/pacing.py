"""Whether another slot is worth it: a pure decision on what the slots have measured."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Literal

from muster_worker.readings import Reading

# Another slot has to bring that much more epochs a second, over all slots.
WANTED_RISE = 0.10
# Of each slot, before its pace is believed.
ENOUGH_READINGS = 5
ENOUGH_SECONDS = 10.0
# The next trial may be larger than any so far.
MARGIN = 1.2


@dataclass
class Phase:
    """What a fixed set of slots says while it trains: readings by the slot's number, in order."""

    slots: tuple[int, ...]
    seconds: float = 0.0
    readings: dict[int, list[Reading]] = field(default_factory=lambda: defaultdict(list))

    def is_measured(self, *, enough_seconds: float = ENOUGH_SECONDS) -> bool:
        """Whether every slot has said enough for a decision."""
        counts = [len(self.readings[slot]) for slot in self.slots]
        return self.seconds >= enough_seconds and min(counts) >= ENOUGH_READINGS


@dataclass(frozen=True)
class Decision:
    """more: start another slot; fewer: the newest one was not worth it; stay: it is found."""

    kind: Literal["more", "fewer", "stay"]
    reason: str


def decide(before: Phase | None, now: Phase, *, most: int) -> Decision:
    """What follows from a measured phase, and the one with a slot less before it.

    most: slots that may run in all.
    """
    count = len(now.slots)
    seen = f"{count} slot{'s' if count > 1 else ''}"
    if before is not None:
        rise = rise_of(before, now)
        seen = f"{seen} train {rise:+.0%} epochs a second"
        if rise < WANTED_RISE:
            return Decision("fewer", f"{seen}, too little for the last one")
    if count >= most:
        return Decision("stay", f"{seen}, as many as the cores allow")
    missing = missing_memory(now)
    if missing:
        return Decision("stay", f"{seen}, without memory for one more: {missing}")
    return Decision("more", f"{seen}, with memory for one more")


def rise_of(before: Phase, now: Phase) -> float:
    """By what share all slots together train faster now, 0.1 for 10 %.

    Trials differ by far more than slots, so each trial that trained in both phases is compared
    with itself, and the new slot is taken to have been slowed as the others were. Where no trial
    did, all epochs a second are compared.
    """
    old, new = _seconds_per_epoch(before), _seconds_per_epoch(now)
    paired = [old[trial] / new[trial] for trial in old.keys() & new.keys()]
    if paired:
        return median(paired) * len(now.slots) / len(before.slots) - 1.0
    return _epochs_per_second(now) / _epochs_per_second(before) - 1.0


def missing_memory(phase: Phase) -> str:
    """Which memory has no room for another slot, in words; empty where all have.

    Every slot may come to need what the largest needed.
    """
    last = [readings[-1].memory for readings in phase.readings.values() if readings]
    short = []
    for kind in sorted({kind for memory in last for kind in memory}):
        held = [memory[kind] for memory in last if kind in memory]
        peak = max(each.peak for each in held)
        needed = round(MARGIN * peak) + sum(peak - each.used for each in held)
        free = min(each.free for each in held)
        if needed > free:
            short.append(f"{kind} needs {_gib(needed)}, {_gib(free)} are free")
    return "; ".join(short)


def _seconds_per_epoch(phase: Phase) -> Mapping[int, float]:
    """By trial, of those with enough readings; the median, since a first epoch is slow."""
    found: dict[int, list[float]] = defaultdict(list)
    for reading in _all(phase):
        found[reading.trial].append(reading.seconds / reading.epochs)
    return {
        trial: max(median(each), 1e-9)
        for trial, each in found.items()
        if len(each) >= ENOUGH_READINGS
    }


def _epochs_per_second(phase: Phase) -> float:
    return sum(reading.epochs for reading in _all(phase)) / phase.seconds


def _all(phase: Phase) -> Iterable[Reading]:
    return (reading for slot in phase.slots for reading in phase.readings[slot])


def _gib(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"
