"""Several trials at once on one device: a process a slot, watched by one that trains nothing."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass

from muster.errors import MembershipEnded, MusterError, Unavailable, UserError
from muster_worker.children import see_out
from muster_worker.probe import Probe
from muster_worker.readings import Reading
from muster_worker.signals import StopRequest

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.2
PIPE_BYTES = 65_536
KINDS: dict[int, type[MusterError]] = {
    each.exit_code: each for each in (UserError, Unavailable, MembershipEnded)
}
# From the least to the worst; whatever else a process may end with is a fault of ours.
WORSE = (0, Unavailable.exit_code, UserError.exit_code, MembershipEnded.exit_code)

# Starts the slot of that number, which writes its readings to that file descriptor.
Start = Callable[[int, int], subprocess.Popen[bytes]]


def supervise(start: Start, *, slots: int | None, stop: StopRequest, probe: Probe) -> None:
    """Run that many slots, or as many as the probe finds worth it, until all have ended.

    A slot that runs out of memory, or is killed, is not replaced. What asks for a stop is passed
    on to each, once. Raises MusterError with the worst exit code of a slot, and its message.
    """
    crew = Crew(start)
    stop.before_exit = crew.kill
    try:
        for _ in range(slots or 1):
            crew.add()
        while crew.slots and not stop.wait(LOOK_SECONDS):
            crew.look(probe)
            if slots is None and not crew.is_full:
                _follow(crew, probe)
    finally:
        crew.leave()
    crew.raise_worst()


def _follow(crew: Crew, probe: Probe) -> None:
    staying = crew.staying()
    decision = probe.judge(tuple(slot.number for slot in staying), now=time.monotonic())
    if decision is None:
        return
    if decision.kind == "more":
        crew.add()
    elif decision.kind == "fewer":
        staying[-1].ask_to_leave()
    count = len(crew.staying())
    log.info("%s: from now on %s", decision.reason, count)


@dataclass
class Slot:
    """One process. pipe: what it says. is_leaving: it was asked to end."""

    number: int
    process: subprocess.Popen[bytes]
    pipe: int
    message: str = ""
    is_leaving: bool = False
    rest: bytes = b""

    def read(self) -> list[Reading]:
        """What it said since the last look."""
        while True:
            try:
                found = os.read(self.pipe, PIPE_BYTES)
            except BlockingIOError:
                break
            if not found:
                break
            self.rest += found
        *lines, self.rest = self.rest.split(b"\n")
        return [Reading.from_line(line) for line in lines]

    def ask_to_leave(self) -> None:
        """Have it give its trial back and end."""
        self.is_leaving = True
        self.process.terminate()


class Crew:
    """The slots that have not ended. is_full: one has run out of memory, so none may join."""

    def __init__(self, start: Start) -> None:
        self.is_full = False
        self._start = start
        self.slots: list[Slot] = []
        self._started = 0
        self._failed: list[tuple[int, str]] = []

    def add(self) -> None:
        """Start one more."""
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        try:
            process = self._start(self._started, writer)
        except BaseException:
            os.close(reader)
            raise
        finally:
            os.close(writer)
        self.slots.append(Slot(self._started, process, reader))
        self._started += 1

    def staying(self) -> list[Slot]:
        """Those that were not asked to end either."""
        return [slot for slot in self.slots if not slot.is_leaving]

    def look(self, probe: Probe) -> None:
        """Take in what the slots said, and which of them have ended."""
        for slot in list(self.slots):
            # Asked first: what it said before it ended is in the pipe by then.
            has_ended = slot.process.poll() is not None
            for reading in slot.read():
                if reading.ran_out is not None:
                    self._ran_out(slot, reading.ran_out)
                elif reading.message:
                    slot.message = reading.message
                else:
                    probe.take(slot.number, reading)
            if has_ended:
                self.slots.remove(slot)
                os.close(slot.pipe)
                self._judge(slot)

    def leave(self) -> None:
        """See all out that still run."""
        killed = see_out(slot.process for slot in self.slots)
        for slot in self.slots:
            if slot.process in killed:
                log.warning(
                    "slot %s did not end in time and was killed; its trial goes on elsewhere, "
                    "once its lease has run out",
                    slot.number,
                )
            os.close(slot.pipe)
        self.slots.clear()

    def kill(self) -> None:
        """End all at once; for a handler of signals."""
        for slot in self.slots:
            slot.process.kill()

    def raise_worst(self) -> None:
        """Raise for the worst of the slots that failed, if any did."""
        if self._failed:
            code, message = max(self._failed, key=lambda each: _badness(each[0]))
            raise KINDS.get(code, MusterError)(message)

    def _ran_out(self, slot: Slot, trial: int) -> None:
        # Alone, it is the configuration that asks for too much: its trial says so, no slot goes.
        if len(self.staying()) > 1 and not slot.is_leaving:
            slot.ask_to_leave()
            self._one_fewer(slot, f"found no memory left for trial {trial}")

    def _judge(self, slot: Slot) -> None:
        code = slot.process.returncode
        # Asked to leave before it could listen, it had begun nothing.
        if code == 0 or (slot.is_leaving and code == -signal.SIGTERM):
            return
        if code == -signal.SIGKILL and self.slots:
            self._one_fewer(slot, "was killed, as happens where memory runs out")
            return
        message = slot.message or (
            f"slot {slot.number} ended with code {code}; its last lines say why, and a code of "
            f"{-signal.SIGKILL} mostly means that memory ran out"
        )
        self._failed.append((code, message))
        if self.slots:
            log.warning("slot %s ended, the others go on: %s", slot.number, message)

    def _one_fewer(self, slot: Slot, why: str) -> None:
        self.is_full = True
        log.warning(
            "slot %s %s: one slot fewer from now on, %s in all; its trial goes on elsewhere",
            slot.number,
            why,
            len(self.staying()),
        )


def _badness(code: int) -> int:
    return WORSE.index(code) if code in WORSE else len(WORSE)
