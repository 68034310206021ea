"""The faults of `make bench-faults`, each a short one: real processes, a real server."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from benchmarks.faults.catalogue import SCENARIOS, run_scenario
from benchmarks.faults.disks import NoDisk
from benchmarks.faults.world import Verdict
from benchmarks.servers import Server

# Those that mostly wait come first, so that others run beside them.
SHORT: dict[str, dict[str, Any]] = {
    "half_open": {"epochs": 2},
    "stopped_workers": {"epochs": 2},
    "killed_workers": {
        "workers": 2, "trials": 5, "epochs": 4, "every_seconds": 1.0, "most_kills": 3,
        "lease_seconds": 2.0,
    },
    "all_killed": {"workers": 2, "trials": 4, "epochs": 2},
    "cut_connection": {"epochs": 2, "lease_seconds": 2.0},
    "flipped_bit": {"epochs": 4},
    "wrong_clocks": {"trials": 4, "epochs": 2},
    "many_starts": {"workers": 8, "trials": 10},
    "full_database": {"trials": 2, "epochs": 4},
    "full_cache": {"trials": 1, "epochs": 2},
}  # fmt: skip
# It stops the server that the others use.
ALONE: dict[str, dict[str, Any]] = {
    "database_stops": {
        "times": 1, "seconds": 3.0, "lease_seconds": 2.0, "workers": 2, "trials": 6, "epochs": 4,
    },
}  # fmt: skip
ON_A_SERVER = [name for name in SHORT if SCENARIOS[name].needs_server]
ON_A_FILE = [name for name in SHORT if not SCENARIOS[name].needs_server]
Verdicts = dict[str, Future[Verdict]]


def run(
    names: list[str], request: pytest.FixtureRequest, folder: Path, server: Server | None
) -> Iterator[Verdicts]:
    """Run those of the scenarios that are asked for, three at a time."""
    asked = {
        item.callspec.params.get("name")
        for item in request.session.items
        if isinstance(item, pytest.Function) and hasattr(item, "callspec")
    }
    with ThreadPoolExecutor(3) as pool:
        yield {
            name: pool.submit(run_scenario, name, folder / name, server, **SHORT[name])
            for name in names
            if name in asked
        }


@pytest.fixture(scope="module")
def on_a_server(
    mariadb: Server, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Verdicts]:
    """The scenarios that share a server, and run beside each other."""
    yield from run(ON_A_SERVER, request, tmp_path_factory.mktemp("worlds"), mariadb)


@pytest.fixture(scope="module")
def on_a_file(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Verdicts]:
    """Those of small disks."""
    yield from run(ON_A_FILE, request, tmp_path_factory.mktemp("worlds"), None)


def assert_holds(verdict: Verdict) -> None:
    assert verdict.problems == [], verdict.figures


def test_every_scenario_of_the_benchmark_has_a_short_version() -> None:
    assert {*SHORT, *ALONE} == set(SCENARIOS)


@pytest.mark.parametrize("name", ON_A_SERVER)
@pytest.mark.mariadb
def test_promise_holds_on_a_server_through(name: str, on_a_server: Verdicts) -> None:
    assert_holds(on_a_server[name].result())


@pytest.mark.parametrize("name", ON_A_FILE)
def test_promise_holds_in_one_file_through(name: str, on_a_file: Verdicts) -> None:
    try:
        assert_holds(on_a_file[name].result())
    except NoDisk as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"NO SMALL DISK HERE, full disks stay untested: {error}")


@pytest.mark.parametrize("name", ALONE)
@pytest.mark.mariadb
def test_promise_holds_when_the_server_itself_goes(
    name: str, mariadb: Server, tmp_path: Path
) -> None:
    assert_holds(run_scenario(name, tmp_path / name, mariadb, **ALONE[name]))
