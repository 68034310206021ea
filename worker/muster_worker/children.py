"""Worker processes that another process starts, and sees out."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import IO

# docker stop grants 10 s; a worker needs no longer to save and give its trial back.
STOP_SECONDS = 10.0


def start_child(
    command: Sequence[str],
    *,
    url: str,
    threads: int,
    environment: Mapping[str, str],
    output: IO[bytes] | None = None,
    pipes: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start a worker. output: where both its streams go; this process's own without it.

    pipes: file descriptors that it inherits.
    """
    # The URL says all that an invitation does.
    inherited = {name: value for name, value in environment.items() if name != "MUSTER_JOIN"}
    return subprocess.Popen(
        command,
        # The URL may hold a password: it travels in the environment, never on a command line.
        env={**inherited, "MUSTER_DB_URL": url, "OMP_NUM_THREADS": str(threads)},
        stdout=output,
        stderr=output,
        pass_fds=pipes,
        # A session of its own: Ctrl-C reaches the parent alone, which passes it on once.
        start_new_session=True,
    )


def see_out(
    processes: Iterable[subprocess.Popen[bytes]], *, seconds: float = STOP_SECONDS
) -> list[subprocess.Popen[bytes]]:
    """Ask those that still run to stop, and wait; returns those that had to be killed."""
    deadline = time.monotonic() + seconds
    processes, killed = list(processes), []
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(timeout=max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            killed.append(process)
    return killed
