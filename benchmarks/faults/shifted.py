"""A muster worker whose wall clock is SHIFT_SECONDS wrong.

What measures durations (monotonic, perf_counter) stays right, as where a machine's clock was set
wrong. The shift comes after the imports: C code is bound to the datetime class that it met.
"""

from __future__ import annotations

import os
import sys
import time
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Self

import muster_worker.loop  # noqa: F401 - what a worker imports later must be here to be shifted
from muster_cli.main import main

_time, _time_ns = time.time, time.time_ns
# Whose clock is read in Python; muster's own times are the database's.
OURS = ("muster", "optuna", "sqlalchemy", "pymysql", "alembic", "logging")


def shift_clock(seconds: float) -> None:
    """Shift time.time, time.time_ns and datetime's now for what is imported by now."""
    distance = timedelta(seconds=seconds)

    class Shifted(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return super().now(tz) + distance

        @classmethod
        def utcnow(cls) -> Self:
            return cls.now(UTC).replace(tzinfo=None)

    time.time = lambda: _time() + seconds
    time.time_ns = lambda: _time_ns() + round(seconds * 1000000000.0)
    for name, module in list(sys.modules.items()):
        if name.startswith(OURS) and getattr(module, "datetime", None) is datetime:
            vars(module)["datetime"] = Shifted


if __name__ == "__main__":
    shift_clock(float(os.environ["SHIFT_SECONDS"]))
    main()
