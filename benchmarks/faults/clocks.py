"""Workers whose clocks are hours wrong."""

from __future__ import annotations

from pathlib import Path

from benchmarks.faults.crew import Crew
from benchmarks.faults.world import EPOCHS, Verdict, make_world
from benchmarks.servers import Server

SHIFTED = "benchmarks.faults.shifted"
HOURS = 3.0


def wrong_clocks(
    folder: Path, server: Server, *, trials: int = 9, epochs: int = EPOCHS, hours: float = HOURS
) -> Verdict:
    """One worker hours ahead, one hours behind: nothing changes."""
    url = server.make_database("muster_wrong_clocks")
    world = make_world(folder, url, trials=trials, epochs=epochs)
    with Crew(world) as crew:
        for shift in (hours, -hours):
            crew.start(module=SHIFTED, SHIFT_SECONDS=shift * 3600)
        problems = crew.wait()
    rows = world.rows()
    if taken := [row.number for row in rows if row.attempt > 1 or row.failures]:
        problems.append(f"trials {taken} lost their leases, though no worker died")
    figures = {
        "hours ahead and behind": hours,
        "trials": trials,
        "workers that told": len({row.worker_id for row in rows}),
        "leases lost": len(taken),
    }
    return Verdict(figures, problems + world.problems())
