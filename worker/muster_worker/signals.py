"""SIGTERM and SIGINT ask for a stop; the second one forces it."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event
from types import FrameType


class StopRequest(Event):
    """Set once the process was asked to stop; signal_number says by what.

    Event's own set takes a lock, which the code that a handler interrupts may hold: a pipe
    carries the news instead. before_exit: what a forced exit does first, in the handler.
    """

    signal_number: int | None = None

    def __init__(self) -> None:
        super().__init__()
        self.before_exit: Callable[[], None] = _nothing
        self._asked = False
        self._reader, self._writer = os.pipe()

    def is_set(self) -> bool:
        """Whether a stop was asked for."""
        return self._asked

    def set(self) -> None:
        """Ask for a stop, from a handler too."""
        if not self._asked:
            self._asked = True
            os.write(self._writer, b"!")

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the request, timeout seconds at most; whether it is there."""
        if not self._asked:
            select.select([self._reader], [], [], timeout)
        return self._asked

    def close(self) -> None:
        """Give the pipe back."""
        os.close(self._reader)
        os.close(self._writer)


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn the first SIGTERM or SIGINT into a set event, the second into an exit at once.

    A forced exit has the code 128 + the signal's number.
    """
    stop = StopRequest()

    def handle(number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            stop.before_exit()
            os._exit(128 + number)
        stop.signal_number = number
        stop.set()

    previous = {each: signal.signal(each, handle) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        stop.close()


def _nothing() -> None:
    """Without children, a forced exit has nothing to do first."""
