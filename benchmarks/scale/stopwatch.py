"""How long a worker's verbs take, each without those that it calls."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import wraps
from typing import Any, Final, NamedTuple

from muster_db import claims, trials
from muster_db.mirror import Mirror

# Where workers look each verb up: claim without its draw, draw without its news.
VERBS: Final[dict[str, tuple[Any, str]]] = {
    "claim": (claims, "claim"),
    "begin": (trials, "begin"),
    "report": (trials, "report"),
    "extend": (trials, "extend"),
    "tell": (trials, "tell"),
    "news": (Mirror, "refresh"),
    "draw": (Mirror, "propose"),
}


class Sample(NamedTuple):
    """One call. ended_at: seconds of time.time, which all processes share."""

    verb: str
    ended_at: float
    seconds: float


class Stopwatch:
    """Times the verbs of all threads of this process from its making on."""

    def __init__(self) -> None:
        self.samples: list[Sample] = []
        self._inner = threading.local()
        for verb, (place, name) in VERBS.items():
            setattr(place, name, self._timed(verb, getattr(place, name)))

    def _timed(self, verb: str, call: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(call)
        def timed(*arguments: Any, **named: Any) -> Any:
            outside: float = getattr(self._inner, "seconds", 0.0)
            self._inner.seconds = 0.0
            started = time.perf_counter()
            try:
                return call(*arguments, **named)
            finally:
                whole = time.perf_counter() - started
                self.samples.append(Sample(verb, time.time(), whole - self._inner.seconds))
                self._inner.seconds = outside + whole

        return timed
