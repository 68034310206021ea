"""SIGTERM in whatever a worker does at the moment."""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks.faults.crew import Crew, until
from benchmarks.faults.deaths import PROBE
from benchmarks.faults.probe import PHASES
from benchmarks.faults.world import Verdict, World, make_world
from benchmarks.servers import Server

EXIT_SECONDS = 10.0
SHIPPED_CHECKPOINT_SECONDS = 30.0


def stopped_workers(
    folder: Path, server: Server, *, phases: tuple[str, ...] = PHASES, epochs: int = 6
) -> Verdict:
    """A worker a phase, stopped by SIGTERM in it; then one that finishes everything."""
    url = server.make_database("muster_stopped_workers")
    world = make_world(folder, url, trials=len(phases) + 1, epochs=epochs)
    # A lease that outlasts the scenario: only what was given back can be taken again.
    with Crew(world, lease_seconds=600, checkpoint_seconds=SHIPPED_CHECKPOINT_SECONDS) as crew:
        took: dict[str, float] = {}
        problems: list[str] = []
        # One after the other: four that start together would share the cores, and the 10 s.
        for phase in phases:
            took[phase] = _stop(world, crew, phase)
            problems += [
                f"stopped while {phase}: trial {row.number} is left running"
                for row in world.running()
            ]
        crew.start()
        problems += crew.wait()
    problems += [
        f"stopped while {phase}: the exit took {seconds:.1f} s"
        for phase, seconds in took.items()
        if seconds > EXIT_SECONDS
    ]
    figures: dict[str, object] = {
        f"{phase}: seconds to exit": round(took[phase], 2) for phase in phases
    }
    figures["trials"] = world.study.budget
    return Verdict(figures, problems + world.problems())


def _stop(world: World, crew: Crew, phase: str) -> float:
    """Seconds from the SIGTERM, which the worker sends itself on reaching the phase."""
    note = world.folder / f"stopped-{phase.replace(' ', '-')}"
    process = crew.start(module=PROBE, PROBE_STOP_AT=phase, PROBE_STOPPED=note)
    until(lambda: process.poll() is not None, f"the exit of a worker stopped while {phase}")
    # The processes of one machine share the monotonic clock.
    return time.monotonic() - float(note.read_text())
