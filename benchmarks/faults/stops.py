"""SIGTERM in whatever a worker does at the moment."""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks.faults.crew import PROBE, Crew, until
from benchmarks.faults.outages import through
from benchmarks.faults.probe import PHASES, let_train
from benchmarks.faults.world import Verdict, World, make_world
from benchmarks.proxy import proxy_to
from benchmarks.servers import Server

EXIT_SECONDS = 10.0
SHIPPED_CHECKPOINT_SECONDS = 30.0
AWAY = "database away"


def stopped_workers(folder: Path, server: Server, *, epochs: int = 6) -> Verdict:
    """A worker a phase, stopped by SIGTERM in it; then one that finishes everything."""
    url = server.make_database("muster_stopped_workers")
    world = make_world(folder, url, trials=len(PHASES) + 1, epochs=epochs)
    # A lease that outlasts the scenario: only what was given back can be taken again.
    with Crew(world, lease_seconds=600, checkpoint_seconds=SHIPPED_CHECKPOINT_SECONDS) as crew:
        took: dict[str, float] = {}
        problems: list[str] = []
        # One after the other: those that start together would share the cores, and the 10 s.
        for phase in PHASES:
            took[phase] = _stop(world, crew, phase)
            problems += [
                f"stopped while {phase}: trial {row.number} is left {row.state}"
                for row in world.held()
            ]
        took[AWAY] = _stop_without_database(world, crew, server)
        # Nobody could give back what that one held: its lease has to end.
        world.move_clock()
        crew.start()
        problems += crew.wait()
    problems += [
        f"stopped while {phase}: the exit took {seconds:.1f} s"
        for phase, seconds in took.items()
        if seconds > EXIT_SECONDS
    ]
    figures: dict[str, object] = {
        f"{phase}: seconds to exit": round(seconds, 2) for phase, seconds in took.items()
    }
    figures["trials"] = world.study.budget
    return Verdict(figures, problems + world.problems())


def _stop(world: World, crew: Crew, phase: str) -> float:
    """Seconds from the SIGTERM, which the worker sends itself on reaching the phase."""
    note = world.folder / f"stopped-{phase.replace(' ', '-')}"
    process = crew.start(module=PROBE, PROBE_STOP_AT=phase, PROBE_STOPPED=note)
    until(lambda: process.exitcode is not None, f"the exit of a worker stopped while {phase}")
    # The processes of one machine share the monotonic clock.
    return time.monotonic() - float(note.read_text())


def _stop_without_database(world: World, crew: Crew, server: Server) -> float:
    """Seconds from the SIGTERM to a worker that has lost its database in mid-trial."""
    leash = world.folder / "leash"
    let_train(leash, 1)
    with proxy_to(server.port) as proxy:
        url = through(world.url, proxy)
        process = crew.start(url=url, module=PROBE, PROBE_LEASH=leash)
        until(lambda: bool(world.running()), "the worker has a trial")
        proxy.cut()
        until(lambda: "goes on without the database" in crew.log(process), "it has noticed")
        process.terminate()
        begun = time.monotonic()
        leash.unlink()
        until(lambda: process.exitcode is not None, "the exit of a worker without its database")
        return time.monotonic() - begun
