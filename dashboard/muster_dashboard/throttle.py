"""Attempts to log in, limited by address and over all, with a wait that doubles."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Final

# An address may be wrong so often before it has to wait, and everybody together so often.
FREE: Final = 5
FREE_OVER_ALL: Final = 100
FIRST_WAIT_SECONDS: Final = 1.0
LONGEST_WAIT_SECONDS: Final = 300.0
LONGEST_WAIT_OVER_ALL_SECONDS: Final = 10.0
# Who has been quiet for so long begins anew.
FORGIVEN_SECONDS: Final = 900.0
MOST_ADDRESSES: Final = 10_000


class Throttle:
    """Counts failures. now: seconds of a clock that only goes on."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = Lock()
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._over_all = (0, float("-inf"))

    def wait_seconds(self, address: str) -> float:
        """How long this address has to wait until its next attempt; 0: not at all."""
        now = self._now()
        with self._lock:
            count, at = self._failures.get(address, (0, now))
            wait = at + _wait(count - FREE, LONGEST_WAIT_SECONDS) - now
            count, at = self._over_all
            over_all = at + _wait(count - FREE_OVER_ALL, LONGEST_WAIT_OVER_ALL_SECONDS) - now
        return max(0.0, wait, over_all)

    def failed(self, address: str) -> None:
        """Note a wrong token or password."""
        now = self._now()
        with self._lock:
            self._failures[address] = _more(self._failures.pop(address, (0, now)), now)
            if len(self._failures) > MOST_ADDRESSES:
                self._failures.popitem(last=False)
            self._over_all = _more(self._over_all, now)

    def succeeded(self, address: str) -> None:
        """Forget what an address got wrong before it got it right."""
        with self._lock:
            self._failures.pop(address, None)


def _more(known: tuple[int, float], now: float) -> tuple[int, float]:
    count, at = known
    return (1 if now - at > FORGIVEN_SECONDS else count + 1), now


def _wait(beyond: int, longest: float) -> float:
    if beyond < 0:
        return 0.0
    return float(min(longest, FIRST_WAIT_SECONDS * 2.0 ** min(beyond, 60)))
