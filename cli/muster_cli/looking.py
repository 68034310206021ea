"""Looking at a study again and again, through outages of its database."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from muster.errors import DiskFull, Unavailable
from muster_cli.console import progress

T = TypeVar("T")

# A watcher says soon that the database is away; it loses nothing by asking again.
WATCHING_PATIENCE_SECONDS = 5.0


def looks(look: Callable[[], T], *, every_seconds: float) -> Iterator[T]:
    """What look finds, without end; an outage is said once and waited out.

    Raises DiskFull, and what else look raises.
    """
    is_away = False
    while True:
        try:
            found = look()
        except DiskFull:
            raise
        except Unavailable as error:
            if not is_away:
                progress.print(f"waiting for the database to come back: {error}", soft_wrap=True)
            is_away = True
        else:
            if is_away:
                progress.print("the database is back")
            is_away = False
            yield found
        time.sleep(every_seconds)
