"""Every scenario by its name, and the fault of the issue's table that it makes real."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.faults import clocks, crowd, deaths, disks, outages, stops
from benchmarks.faults.world import Verdict


@dataclass(frozen=True)
class Scenario:
    """run takes a folder, and a server of its own first where needs_server."""

    fault: str
    run: Callable[..., Verdict]
    needs_server: bool = True


SCENARIOS: dict[str, Scenario] = {
    "killed_workers": Scenario("SIGKILL of a random worker", deaths.killed_workers),
    "all_killed": Scenario("all workers killed, an hour passes", deaths.all_killed),
    "database_stops": Scenario("database stopped in mid-search", outages.database_stops),
    "cut_connection": Scenario("cut for longer than the lease", outages.cut_connection),
    "half_open": Scenario("packets vanish, no reset", outages.half_open),
    "many_starts": Scenario("64 workers, an empty schema", crowd.many_starts),
    "full_database": Scenario("disk of the SQLite file full", disks.full_database, False),
    "full_cache": Scenario("disk of the cache full", disks.full_cache, False),
    "flipped_bit": Scenario("checkpoint with a flipped bit", deaths.flipped_bit),
    "wrong_clocks": Scenario("clocks three hours wrong", clocks.wrong_clocks),
    "stopped_workers": Scenario("SIGTERM in any phase", stops.stopped_workers),
}


def run_scenario(name: str, folder: Path, server: Any, **parameters: Any) -> Verdict:
    """Run a scenario in a folder of its own; server: None where it needs none."""
    scenario = SCENARIOS[name]
    places = (folder, server) if scenario.needs_server else (folder,)
    return scenario.run(*places, **parameters)
