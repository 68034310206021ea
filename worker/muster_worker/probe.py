"""The search for the number of slots: one more while it pays, from phase to phase."""

from __future__ import annotations

from muster_worker.pacing import ENOUGH_SECONDS, Decision, Phase, decide
from muster_worker.readings import Reading


class Probe:
    """Collects what the slots say and decides once each phase is measured.

    A phase begins when every slot trains, and ends with the decision; most: slots in all.
    """

    def __init__(self, *, most: int, enough_seconds: float = ENOUGH_SECONDS) -> None:
        self._most = most
        self._enough_seconds = enough_seconds
        self._heard: set[int] = set()
        self._before: Phase | None = None
        self._now: Phase | None = None
        self._began = 0.0
        self._is_settled = False

    def take(self, slot: int, reading: Reading) -> None:
        """Note what the slot of that number said."""
        self._heard.add(slot)
        if self._now is not None and not self._is_settled:
            self._now.readings[slot].append(reading)

    def judge(self, running: tuple[int, ...], *, now: float) -> Decision | None:
        """What to do, once that is known; None before it, and for good after the last one.

        running: the numbers of the slots that train. now: seconds of a clock that only rises.
        """
        if self._is_settled:
            return None
        if self._now is None:
            if self._heard.issuperset(running):
                self._now, self._began = Phase(running), now
            return None
        if running != self._now.slots:
            # One has ended by itself: the study has nothing left for it, or it failed.
            self._is_settled = True
            return None
        self._now.seconds = now - self._began
        if not self._now.is_measured(enough_seconds=self._enough_seconds):
            return None
        decision = decide(self._before, self._now, most=self._most)
        if decision.kind == "more":
            self._before, self._now = self._now, None
        else:
            self._is_settled = True
        return decision
