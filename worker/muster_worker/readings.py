"""What a slot tells its supervisor through a pipe: lines of JSON, a reading each."""

from __future__ import annotations

import contextlib
import json
import os
import select
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from threading import Event, Thread

# A slot whose epochs last milliseconds says several of them in one line.
LINE_SECONDS = 0.5


@dataclass(frozen=True)
class Memory:
    """Bytes of one kind of memory: what this process has now and at most, and what is free."""

    used: int
    peak: int
    free: int


Gauge = Callable[[], Mapping[str, Memory]]


@dataclass(frozen=True)
class Reading:
    """Epochs of a trial that took that many seconds, and the memory by its kind after them.

    ran_out: the number of a trial that found no memory left. message: why the slot ended.
    """

    trial: int = -1
    epochs: int = 0
    seconds: float = 0.0
    memory: Mapping[str, Memory] = field(default_factory=dict)
    ran_out: int | None = None
    message: str = ""

    def to_line(self) -> bytes:
        """One line of JSON."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Reading:
        """The reading that to_line wrote."""
        content = json.loads(line)
        memory = {kind: Memory(**each) for kind, each in content.pop("memory").items()}
        return cls(memory=memory, **content)


class Reporter:
    """A slot's end of the pipe. Training never waits for it: what does not fit in is dropped.

    gauge: measures the memory, once it is known which.
    """

    def __init__(self, pipe: int) -> None:
        self.gauge: Gauge = dict
        self._pipe = pipe
        self._trial = -1
        self._epochs = 0
        self._seconds = 0.0
        self._said_at = time.monotonic()
        os.set_blocking(pipe, False)

    def epoch(self, trial: int, seconds: float) -> None:
        """Note a finished epoch."""
        if trial != self._trial:
            self._trial, self._epochs, self._seconds = trial, 0, 0.0
        self._epochs += 1
        self._seconds += seconds
        now = time.monotonic()
        if now - self._said_at >= LINE_SECONDS:
            self._said_at = now
            self._say(Reading(trial, self._epochs, self._seconds, self.gauge()))
            self._epochs, self._seconds = 0, 0.0

    def ran_out(self, number: int) -> None:
        """Say that the trial of this number found no memory left."""
        self._say(Reading(ran_out=number))

    def end(self, message: str) -> None:
        """Say why the slot ends; nothing trains any more, so that this may wait."""
        os.set_blocking(self._pipe, True)
        self._say(Reading(message=message))

    def stop_when_alone(self, stop: Event) -> None:
        """Set stop once nobody reads the other end any more: the supervisor has gone."""
        Thread(target=self._watch, args=(stop,), name="supervisor", daemon=True).start()

    def _watch(self, stop: Event) -> None:
        poll = select.poll()
        # No event is asked for: an end that was closed is reported always.
        poll.register(self._pipe, 0)
        poll.poll()
        stop.set()

    def _say(self, reading: Reading) -> None:
        # No supervisor, or one that is behind: what it misses decides nothing.
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            os.write(self._pipe, reading.to_line())
