"""A process that has imported what commands import, and forks one off for each command.

`python tests/warm.py SOCKET` serves until its stdin ends; run_warm, elsewhere, starts it and asks.
A command is a process of its own, with its own arguments, environment, folder and files to write
to; it goes through `python -m muster_cli` from the first line, and is spared only the imports,
which take longer than most commands.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import random
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

# What a run, a vote and a worker import between them.
IMPORTED = (
    "muster.data.readers",
    "muster_cli.commands",
    "muster_ensemble.export",
    "muster_ensemble.importance",
    "muster_ensemble.report",
    "muster_ensemble.verify",
    "muster_worker.gauge",
    "muster_worker.loop",
    "sklearn.metrics",
    "sklearn.model_selection",
    # torch's optimisers import it.
    "torch._dynamo",
)
START_SECONDS = 120.0


def run_warm(
    arguments: Sequence[str], *, folder: Path, environment: Mapping[str, str], seconds: float
) -> subprocess.CompletedProcess[str]:
    """Run muster to its end in that folder; TimeoutError, and it is killed, after the seconds."""
    with (
        tempfile.TemporaryDirectory() as written,
        socket.socket(socket.AF_UNIX) as connection,
    ):
        out, err = Path(written, "stdout"), Path(written, "stderr")
        connection.settimeout(seconds)
        connection.connect(str(_started()))
        asked = {
            "arguments": list(arguments),
            "folder": str(folder),
            "environment": dict(environment),
            "stdout": str(out),
            "stderr": str(err),
        }
        with connection.makefile("rw") as stream:
            print(json.dumps(asked), file=stream, flush=True)
            number = int(stream.readline())
            try:
                code = int(stream.readline())
            except TimeoutError:
                os.kill(number, signal.SIGKILL)
                raise
        return subprocess.CompletedProcess(
            ["muster", *arguments], code, out.read_text(), err.read_text()
        )


@cache
def _started() -> Path:
    """The socket of a serving process, which ends with this one."""
    folder = tempfile.TemporaryDirectory()
    path = Path(folder.name, "socket")
    process = subprocess.Popen(
        [sys.executable, __file__, str(path)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
    )

    def end() -> None:
        process.communicate()
        folder.cleanup()

    atexit.register(end)
    deadline = time.monotonic() + START_SECONDS
    while not path.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("tests/warm.py does not serve; run it by hand to see why")
        time.sleep(0.02)
    return path


def serve(listener: socket.socket) -> dict[str, Any] | None:
    """Fork a keeper for each request; what is asked for in the command's process, else None."""
    # Keepers end unwaited for.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        ready, _, _ = select.select([listener, sys.stdin], [], [])
        if sys.stdin in ready:
            return None
        connection, _ = listener.accept()
        with connection:
            if os.fork() == 0:
                listener.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                return keep(connection)


def keep(connection: socket.socket) -> dict[str, Any]:
    """Fork the command, tell its number and how it ended; returns in the command's process."""
    with connection.makefile("rw") as stream:
        asked: dict[str, Any] = json.loads(stream.readline())
        number = os.fork()
        if number != 0:
            with contextlib.suppress(BrokenPipeError):
                print(number, file=stream, flush=True)
                print(os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]), file=stream, flush=True)
            os._exit(0)
    connection.close()
    return asked


def become(asked: dict[str, Any]) -> None:
    """Turn into the command; ends as it does."""
    for number, path in ((1, asked["stdout"]), (2, asked["stderr"])):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(file, number)
        os.close(file)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    # Two commands must not draw the same numbers because they come from one process.
    random.seed()
    np.random.seed()
    sys.argv = ["muster", *asked["arguments"]]
    runpy.run_module("muster_cli", run_name="__main__", alter_sys=True)


def main() -> None:
    for module in IMPORTED:
        importlib.import_module(module)
    # A collection in a fork would touch, and so copy, all that the imports have made.
    gc.freeze()
    with socket.socket(socket.AF_UNIX) as listener:
        # It has its name once it can be connected to.
        listener.bind(f"{sys.argv[1]}.new")
        listener.listen()
        os.replace(f"{sys.argv[1]}.new", sys.argv[1])
        asked = serve(listener)
    if asked is not None:
        become(asked)


if __name__ == "__main__":
    main()
