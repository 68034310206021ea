"""Readers of a dashboard, each with a connection of its own, in processes beside it."""

from __future__ import annotations

import multiprocessing
import random
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import BadStatusLine, HTTPConnection, HTTPResponse
from typing import Any, Final

PROCESSES: Final = 2
READY_SECONDS: Final = 60.0


@dataclass(frozen=True)
class Reader:
    """Which figures a reader asks for, and how often; theirs: of optuna-dashboard."""

    path: str
    poll_seconds: float


@contextmanager
def crowd_of(
    address: str, cookie: str, readers: Sequence[Reader], *, seconds: float
) -> Iterator[Callable[[], list[float]]]:
    """Processes beside the server that begin to look at once; yields what collects their waits.

    In ms. Of readers that are not ours nothing is counted.
    """
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    start = context.Barrier(PROCESSES + 1)
    crowd = [
        context.Process(
            target=_look,
            args=(address, cookie, list(readers[n::PROCESSES])),
            kwargs={"seconds": seconds, "start": start, "answers": answers},
        )
        for n in range(PROCESSES)
    ]
    for each in crowd:
        each.start()
    start.wait()
    yield lambda: [wait for _ in crowd for wait in answers.get()]
    for each in crowd:
        each.join()
        if each.exitcode:
            raise RuntimeError("a reader was not answered")


def _look(
    address: str, cookie: str, readers: list[Reader], *, seconds: float, start: Any, answers: Any
) -> None:
    start.wait()
    waits: list[float] = []
    until = time.monotonic() + seconds

    def read(reader: Reader, delay: float) -> None:
        time.sleep(delay)
        connection = HTTPConnection(address, timeout=READY_SECONDS)
        is_ours = reader.path.startswith("/muster/")
        if is_ours:
            waits.append(timed(connection, reader.path.replace("/api", ""), cookie))
        while time.monotonic() < until:
            wait = timed(connection, reader.path, cookie)
            if is_ours:
                waits.append(wait)
            time.sleep(reader.poll_seconds)

    chance = random.Random(0)
    delays = [chance.uniform(0, each.poll_seconds) for each in readers]
    try:
        with ThreadPoolExecutor(len(readers)) as pool:
            list(pool.map(read, readers, delays))
    finally:
        # What a reader raised ends this process; nobody waits for its answer.
        answers.put(waits)


def timed(connection: HTTPConnection, path: str, cookie: str) -> float:
    """Milliseconds until the whole answer is there; raises RuntimeError for anything but 200."""
    started = time.perf_counter()
    try:
        answer, content = _ask(connection, path, cookie)
    except (ConnectionError, BadStatusLine):
        # The server has closed a connection that was idle; a browser opens another.
        connection.close()
        answer, content = _ask(connection, path, cookie)
    if answer.status != 200:
        raise RuntimeError(f"{path}: {answer.status} {content[:200]!r}")
    return (time.perf_counter() - started) * 1000


def _ask(connection: HTTPConnection, path: str, cookie: str) -> tuple[HTTPResponse, bytes]:
    connection.request("GET", path, headers={"Cookie": cookie})
    answer = connection.getresponse()
    return answer, answer.read()
