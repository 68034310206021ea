"""The supervisor with slots that are processes of their own and train nothing."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from commands import wait_until
from muster.errors import MembershipEnded, MusterError, Unavailable, UserError
from muster_worker.probe import Probe
from muster_worker.signals import StopRequest
from muster_worker.slots import supervise

# A slot on a device that is a folder: who trains has a file there. More slots than its capacity
# slow each other down, and each takes 1 GiB of its memory. end: how slot 1 behaves.
SLOT = """
import os, signal, sys, time
from pathlib import Path
from muster_worker.readings import Memory, Reading

slot, pipe, folder, capacity, gib, end = sys.argv[1:]
slot, pipe, capacity, gib = int(slot), int(pipe), float(capacity), float(gib)
stopped = []
signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))
own = Path(folder, f"slot-{slot}")
own.write_text(str(os.getpid()))
say = lambda **facts: os.write(pipe, Reading(**facts).to_line())
for step in range(3000):
    running = len(list(Path(folder).glob("slot-*")))
    memory = Memory(2**30, 2**30, int((gib - running) * 2**30))
    seconds = max(1.0, running / capacity)
    say(trial=slot, epochs=1, seconds=seconds, memory={"device": memory})
    if stopped and end == "stubborn":
        Path(folder, f"asked-{slot}").touch()
    elif stopped:
        break
    if end == "ran_out alone" and step == 20:
        say(ran_out=9)
    if end == "ran_out alone" and step == 60:
        Path(folder, "ran out").touch()
    if slot == 1 and step == 20:
        if end == "ran_out":
            say(ran_out=9)
        elif end.startswith("exit"):
            say(message=end)
            os._exit(int(end[-1]))
    if Path(folder, "done").exists():
        break
    time.sleep(0.01)
own.unlink()
"""
Supervised = Callable[..., AbstractContextManager[tuple[Path, pytest.LogCaptureFixture]]]


@pytest.fixture
def supervised(
    tmp_path: Path, stop: StopRequest, caplog: pytest.LogCaptureFixture
) -> Iterator[Supervised]:
    """Supervises slots within a block, whose end waits for theirs and raises what they raised."""
    started: list[subprocess.Popen[bytes]] = []

    @contextmanager
    def supervising(
        *,
        slots: int | None,
        most: int = 8,
        capacity: float = 2.0,
        gib: float = 9.0,
        end: str = "",
    ) -> Iterator[tuple[Path, pytest.LogCaptureFixture]]:
        def begin(number: int, pipe: int) -> subprocess.Popen[bytes]:
            words = [str(each) for each in (number, pipe, tmp_path, capacity, gib, end)]
            process = subprocess.Popen([sys.executable, "-c", SLOT, *words], pass_fds=[pipe])
            started.append(process)
            return process

        probe = Probe(most=most, enough_seconds=0.0)
        caplog.set_level(logging.INFO, logger="muster_worker")
        with ThreadPoolExecutor(1) as pool:
            ended = pool.submit(supervise, begin, slots=slots, stop=stop, probe=probe)
            try:
                yield tmp_path, caplog
            except BaseException:
                stop.set()
                raise
            ended.result(timeout=20)

    yield supervising
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def stop() -> Iterator[StopRequest]:
    """A request that closes its pipe at the end."""
    request = StopRequest()
    yield request
    request.close()


def running(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("slot-*"))


@pytest.mark.parametrize(
    ("device", "most", "reason"),
    [
        ((2.0, 9.0), 8, "3 slots train +0% epochs a second, too little for the last one"),
        ((9.0, 3.0), 8, "2 slots train +100% epochs a second, without memory for one more"),
        ((9.0, 9.0), 2, "2 slots train +100% epochs a second, as many as the cores allow"),
    ],
    ids=["throughput", "memory", "cores"],
)
def test_auto_starts_slots_while_it_pays_and_goes_back_by_one(
    supervised: Supervised, device: tuple[float, float], most: int, reason: str
) -> None:
    capacity, gib = device
    with supervised(slots=None, most=most, capacity=capacity, gib=gib) as (folder, said):
        wait_until(lambda: reason in said.text, seconds=20)
        wait_until(lambda: running(folder) == ["slot-0", "slot-1"], seconds=20)
        (folder / "done").touch()
    assert "1 slot, with memory for one more: from now on 2" in said.text
    assert said.messages[-1].endswith("from now on 2")


def test_killed_slot_is_not_replaced_and_the_others_go_on(supervised: Supervised) -> None:
    with supervised(slots=3) as (folder, said):
        wait_until(lambda: len(running(folder)) == 3, seconds=20)
        os.kill(int((folder / "slot-1").read_text()), signal.SIGKILL)
        wait_until(lambda: bool(said.messages), seconds=20)
        (folder / "done").touch()
    assert said.messages == [
        "slot 1 was killed, as happens where memory runs out: one slot fewer from now on, 2 in "
        "all; its trial goes on elsewhere"
    ]


def test_slot_that_finds_no_memory_left_leaves_and_the_other_stays(
    supervised: Supervised,
) -> None:
    with supervised(slots=2, end="ran_out") as (folder, said):
        wait_until(lambda: bool(said.messages), seconds=20)
        wait_until(lambda: running(folder) == ["slot-0"], seconds=20)
        (folder / "done").touch()
    assert said.messages == [
        "slot 1 found no memory left for trial 9: one slot fewer from now on, 1 in all; its "
        "trial goes on elsewhere"
    ]


def test_slot_that_finds_no_memory_left_on_its_own_stays(supervised: Supervised) -> None:
    with supervised(slots=1, end="ran_out alone") as (folder, said):
        wait_until((folder / "ran out").exists, seconds=20)
        (folder / "done").touch()
    assert said.messages == []


@pytest.mark.parametrize(
    ("code", "kind"),
    [(1, MusterError), (2, UserError), (3, Unavailable), (4, MembershipEnded)],
    ids=["1", "2", "3", "4"],
)
def test_worst_slot_decides_how_the_worker_ends(
    supervised: Supervised, code: int, kind: type[MusterError]
) -> None:
    with (
        pytest.raises(MusterError, match=f"exit {code}") as raised,
        supervised(slots=2, end=f"exit {code}") as (folder, said),
    ):
        wait_until(lambda: "slot 1 ended, the others go on" in said.text, seconds=20)
        (folder / "done").touch()
    assert (type(raised.value), raised.value.exit_code) == (kind, code)


def test_last_slot_that_is_killed_ends_the_worker_with_a_message(supervised: Supervised) -> None:
    with (
        pytest.raises(MusterError, match="slot 0 ended with code -9") as raised,
        supervised(slots=1) as (folder, _),
    ):
        wait_until(lambda: running(folder) == ["slot-0"], seconds=20)
        os.kill(int((folder / "slot-0").read_text()), signal.SIGKILL)
    assert raised.value.exit_code == 1


def test_stop_reaches_every_slot(supervised: Supervised, stop: StopRequest) -> None:
    with supervised(slots=2) as (folder, _):
        wait_until(lambda: len(running(folder)) == 2, seconds=20)
        stop.set()
    assert running(folder) == []


def test_forced_exit_kills_slots_that_have_not_ended_yet(
    supervised: Supervised, stop: StopRequest
) -> None:
    with supervised(slots=2, end="stubborn") as (folder, _):
        wait_until(lambda: len(running(folder)) == 2, seconds=20)
        stop.set()
        wait_until(lambda: len(list(folder.glob("asked-*"))) == 2, seconds=20)
        stop.before_exit()
    assert len(running(folder)) == 2
