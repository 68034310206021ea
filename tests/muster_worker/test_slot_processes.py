"""muster worker --slots with real slots; tests/muster_worker/test_slots.py has the supervisor."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import Engine, text

from commands import finish, messages, start, started, wait_until
from muster_db import workers
from muster_db.engine import transact
from muster_db.progress import StudyProgress, progress
from muster_db.study import Study

MakeStudy = Callable[..., Study]
TRAINED = text("SELECT COUNT(DISTINCT trial_id) FROM trial_intermediate_values")


def trained(engine: Engine) -> int:
    """Trials with a report."""
    return int(transact(engine, lambda held: held.execute(TRAINED).scalar_one(), read_only=True))


def children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_two_slots_share_a_budget_exactly(
    engine: Engine, make_study: MakeStudy, tmp_path: Path
) -> None:
    study = make_study(budget=6, epochs=20)
    ended = finish(start("worker", "--slots", "2", "--db", str(engine.url), folder=tmp_path))
    assert ended.returncode == 0, ended.stderr
    assert "worker: 2 slots for all open studies, CPU threads of each: 1" in ended.stderr
    assert progress(engine, study) == StudyProgress(6, 6, 0, 0, "open")
    seen = workers.list_workers(engine, study)
    assert sum(each.told for each in seen) == 6
    assert all(each.left_at is not None for each in seen)
    assert "slot 0: joined study study as worker" in ended.stderr
    assert all(f"slot {slot}: done" in ended.stderr for slot in (0, 1))


def test_killed_slot_costs_one_slot_and_sigterm_ends_all_within_10_s(
    engine: Engine, make_study: MakeStudy, tmp_path: Path
) -> None:
    study = make_study(budget=6, epochs=100_000)
    command = ("worker", "--slots", "2", "--study", "study", "--db", str(engine.url))
    with started(*command, folder=tmp_path) as process:
        wait_until(lambda: trained(engine) == 2)
        first, second = children(process.pid)
        os.kill(second, signal.SIGKILL)
        wait_until(lambda: children(process.pid) == [first])
        process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        ended = finish(process)
    assert time.monotonic() - began < 10.0
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("one slot fewer from now on, 1 in all") == 1
    assert not Path(f"/proc/{first}").exists()
    # What the killed one held waits for its lease to run out, what the other held is back.
    left = progress(engine, study)
    assert left.told == 0
    assert left.running >= 1
    assert left.waiting >= 1


def test_slot_that_cannot_serve_has_its_message_said_by_the_worker_alone(
    engine: Engine, make_study: MakeStudy, tmp_path: Path
) -> None:
    make_study()
    command = ("worker", "--slots", "2", "--study", "other", "--db", str(engine.url))
    ended = finish(start(*command, folder=tmp_path))
    assert ended.returncode == 2
    assert len(messages(ended)) == 1
    assert "other" in messages(ended)[0]
    assert "Traceback" not in ended.stderr
