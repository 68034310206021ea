"""The faults of `make bench-faults`, each a short one: real processes, a real server."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from benchmarks.faults.catalogue import SCENARIOS, run_scenario
from benchmarks.faults.disks import NoDisk
from benchmarks.faults.world import Verdict
from benchmarks.servers import Server

Run = Callable[..., Verdict]
SHORT: dict[str, dict[str, Any]] = {
    "killed_workers": {"workers": 2, "trials": 4, "every_seconds": 3.0},
    "all_killed": {"workers": 2, "trials": 3, "epochs": 16},
    "database_stops": {"times": 1, "seconds": 5.0, "workers": 2, "trials": 4},
    "cut_connection": {"epochs": 40, "lease_seconds": 2.0},
    "half_open": {"epochs": 4},
    "many_starts": {"workers": 8, "trials": 10},
    "full_database": {"trials": 2},
    "full_cache": {"trials": 1},
    "flipped_bit": {"epochs": 12},
    "wrong_clocks": {"trials": 4},
    "stopped_workers": {"epochs": 2},
}


@pytest.fixture
def run(tmp_path: Path, request: pytest.FixtureRequest) -> Run:
    """Runs a scenario by its name, short."""

    def short(name: str) -> Verdict:
        needs_server = SCENARIOS[name].needs_server
        server: Server | None = request.getfixturevalue("mariadb") if needs_server else None
        try:
            return run_scenario(name, tmp_path / "world", server, **SHORT[name])
        except NoDisk as error:
            if os.environ.get("CI") == "true":
                raise
            pytest.skip(f"NO SMALL DISK HERE, full disks stay untested: {error}")

    return short


def test_every_scenario_of_the_benchmark_has_a_short_version() -> None:
    assert set(SHORT) == set(SCENARIOS)


@pytest.mark.parametrize("name", [each for each in SCENARIOS if SCENARIOS[each].needs_server])
@pytest.mark.mariadb
def test_promise_holds_on_a_server_through(name: str, run: Run) -> None:
    verdict = run(name)
    assert verdict.problems == [], verdict.figures


@pytest.mark.parametrize("name", [n for n in SCENARIOS if not SCENARIOS[n].needs_server])
def test_promise_holds_in_one_file_through(name: str, run: Run) -> None:
    verdict = run(name)
    assert verdict.problems == [], verdict.figures
