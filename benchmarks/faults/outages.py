"""A database that is stopped, and networks that fail between it and a worker."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

from benchmarks.faults.crew import LEASE_SECONDS, PROBE, Crew, until
from benchmarks.faults.probe import let_train, seconds_of_epochs
from benchmarks.faults.world import EPOCHS, Verdict, World, make_world
from benchmarks.proxy import Proxy, proxy_to
from benchmarks.servers import Server
from sqlalchemy import make_url

from muster.settings import Settings

NOTICE_SECONDS = 30.0
LONG_SECONDS = 900.0


def database_stops(
    folder: Path,
    server: Server,
    *,
    times: int = 5,
    seconds: float = 60.0,
    workers: int = 3,
    trials: int = 48,
    epochs: int = EPOCHS,
    lease_seconds: float = LEASE_SECONDS,
) -> Verdict:
    """Stop the database in mid-search, start it again; longer than a lease, several times."""
    url = server.make_database("muster_database_stops")
    world = make_world(folder, url, trials=trials, epochs=epochs)
    exits = 0
    with Crew(world, lease_seconds=lease_seconds) as crew:
        for _ in range(workers):
            crew.start()
        until(lambda: len(world.running()) == workers, "every worker has a trial")
        stopped = 0
        for _ in range(times):
            seen = world.reports()
            until(partial(_has_reports, world, more_than=seen), "the search goes on")
            if world.is_told():
                break
            world.engine.dispose()
            server.stop()
            stopped += 1
            _stay_away(seconds)
            exits += workers - len(crew.alive())
            server.start()
        until(world.is_told, "all trials told", seconds=LONG_SECONDS)
        problems = crew.wait()
    if exits:
        problems.append(f"{exits} workers exited while the database was away")
    if stopped < times:
        problems.append(f"the search was over after {stopped} of {times} stops")
    figures = {
        "stops": stopped,
        "seconds away": seconds,
        "lease seconds": lease_seconds,
        "workers": workers,
        "exits": exits,
        "trials": trials,
    }
    return Verdict(figures, problems + world.problems())


def cut_connection(
    folder: Path, server: Server, *, epochs: int = 24, lease_seconds: float = LEASE_SECONDS
) -> Verdict:
    """Cut a worker off for longer than its lease, while another one takes its trial."""
    url = server.make_database("muster_cut_connection")
    world = make_world(folder, url, trials=1, epochs=epochs)
    noted, leash = folder / "epochs", folder / "leash"
    # It comes back in its second fold, and would tell the trial like the other one.
    let_train(leash, epochs + 1)
    with proxy_to(server.port) as proxy, Crew(world, lease_seconds=lease_seconds) as crew:
        cut_off = crew.start(
            url=through(url, proxy), module=PROBE, PROBE_EPOCHS=noted, PROBE_LEASH=leash
        )
        until(lambda: bool(world.checkpoints()), "a checkpoint of the first worker")
        first = world.rows()[0].worker_id
        proxy.cut()
        crew.start()
        away = until(lambda: world.rows()[0].worker_id != first, "the second takes the trial")
        second = world.rows()[0].worker_id
        leash.unlink()
        until(lambda: len(seconds_of_epochs(noted)) == world.epochs, "the first one has trained")
        proxy.restore()
        until(lambda: "another worker holds it" in crew.log(cut_off), "the first one notices")
        problems = crew.wait()
    row = world.rows()[0]
    if (row.worker_id, row.attempt) != (second, 2):
        problems.append(f"attempt {row.attempt} of worker {row.worker_id} told the trial")
    figures = {
        "lease seconds": lease_seconds,
        "taken after seconds": round(away, 1),
        "attempts": row.attempt,
        "told by the new one": row.worker_id == second,
        "the old one had a result as well": True,
    }
    return Verdict(figures, problems + world.problems())


def half_open(folder: Path, server: Server, *, epochs: int = 10) -> Verdict:
    """Packets vanish without a reset: the worker gives the connection up and makes a new one.

    The heartbeat is the one that ships, for it decides how late the silence is noticed.
    """
    url = server.make_database("muster_half_open")
    world = make_world(folder, url, trials=1, epochs=epochs)
    heartbeat = Settings.model_fields["heartbeat_seconds"].default
    lease = Settings.model_fields["lease_seconds"].default
    with (
        proxy_to(server.port) as proxy,
        Crew(world, heartbeat_seconds=heartbeat, lease_seconds=lease) as crew,
    ):
        crew.start(url=through(url, proxy))
        until(lambda: bool(world.running()), "the worker has a trial")
        proxy.black_hole()
        # What stands is lost for good, as where a router forgot it; new connections are served.
        proxy.restore()
        noticed = until(lambda: proxy.abandoned > 0, "the connection is given up", seconds=90)
        problems = crew.wait()
    if noticed > NOTICE_SECONDS:
        problems.append(f"noticed after {noticed:.1f} s, {NOTICE_SECONDS:.0f} s are promised")
    figures = {
        "noticed after seconds": round(noticed, 1),
        "promised seconds": NOTICE_SECONDS,
        "heartbeat seconds": heartbeat,
        "attempts": world.rows()[0].attempt,
    }
    return Verdict(figures, problems + world.problems())


def _has_reports(world: World, *, more_than: int) -> bool:
    return world.reports() > more_than


def through(url: str, proxy: Proxy) -> str:
    """The URL with the proxy's port."""
    return make_url(url).set(port=proxy.port).render_as_string(hide_password=False)


def _stay_away(seconds: float) -> None:
    """The outage itself lasts by the wall clock; nothing is waited for."""
    time.sleep(seconds)
