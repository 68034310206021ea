"""Workers that are killed: one at a time while others join, or all at once."""

from __future__ import annotations

import random
import time
from pathlib import Path
from statistics import median

from benchmarks.faults.crew import (
    CHECKPOINT_SECONDS,
    HEARTBEAT_SECONDS,
    LEASE_SECONDS,
    PROBE,
    Crew,
    Process,
    until,
)
from benchmarks.faults.probe import let_train, seconds_of_epochs
from benchmarks.faults.world import EPOCHS, Verdict, World, make_world
from benchmarks.servers import Server
from sqlalchemy import Engine, select

from muster_db.tables import blobs, chunks

# What the issue allows beside one checkpoint interval a kill.
ALLOWED = 1.15
# A trial of bad luck may lose its worker often; that it is given up then is another promise.
MANY_ATTEMPTS = 50
LONG_SECONDS = 900.0
# Ends when a scenario moves the clock, and not before.
LONG_LEASE_SECONDS = 600.0
EVERY_EPOCH = 0.001


def killed_workers(
    folder: Path,
    server: Server,
    *,
    workers: int = 4,
    trials: int = 40,
    epochs: int = EPOCHS,
    every_seconds: float = 4.0,
    most_kills: int = MANY_ATTEMPTS,
    lease_seconds: float = LEASE_SECONDS,
    seed: int = 0,
) -> Verdict:
    """SIGKILL a random worker every few seconds; a fresh one joins each time."""
    url = server.make_database("muster_killed_workers")
    world = make_world(folder, url, trials=trials, epochs=epochs, max_attempts=MANY_ATTEMPTS)
    noted = folder / "epochs"
    rng = random.Random(seed)
    kills = 0
    with Crew(world, lease_seconds=lease_seconds) as crew:
        for _ in range(workers):
            crew.start(module=PROBE, PROBE_EPOCHS=noted)
        until(lambda: world.reports() > 0, "the first report")
        begun = killed_at = time.monotonic()

        def look() -> bool:
            nonlocal kills, killed_at
            is_due = time.monotonic() - killed_at >= every_seconds
            if is_due and kills < most_kills and not world.is_told():
                _kill(rng.choice(crew.alive()))
                crew.start(module=PROBE, PROBE_EPOCHS=noted)
                kills += 1
                killed_at = time.monotonic()
            return world.is_told()

        until(look, "all trials told", seconds=LONG_SECONDS)
        seconds = time.monotonic() - begun
        problems = crew.wait()
    trained = seconds_of_epochs(noted)
    # The newest checkpoint is sent with the next heartbeat.
    interval = (CHECKPOINT_SECONDS + HEARTBEAT_SECONDS) / median(trained) + 1
    most = ALLOWED * world.epochs + kills * interval
    if len(trained) > most:
        problems.append(f"{len(trained)} epochs were trained, {most:.0f} are allowed")
    figures = {
        "workers": workers,
        "trials": trials,
        "kills": kills,
        "epochs undisturbed": world.epochs,
        "epochs trained": len(trained),
        "epochs allowed": round(most),
        "seconds": round(seconds, 1),
    }
    return Verdict(figures, problems + world.problems())


def all_killed(
    folder: Path, server: Server, *, workers: int = 4, trials: int = 12, epochs: int = 12
) -> Verdict:
    """Kill all at once; one worker attaches when the clock is an hour further."""
    url = server.make_database("muster_all_killed")
    world = make_world(folder, url, trials=trials, epochs=epochs)
    noted, leash = folder / "epochs", folder / "leash"
    # Each waits there in the middle of its second fold, and has claimed the next trial.
    let_train(leash, epochs + epochs // 2)
    with Crew(world, lease_seconds=LONG_LEASE_SECONDS) as crew:
        for _ in range(workers):
            crew.start(module=PROBE, PROBE_EPOCHS=noted, PROBE_LEASH=leash)

        def is_under_way() -> bool:
            saved = world.checkpoints()
            running = world.running()
            is_saved = len(running) == workers and all(row.trial_id in saved for row in running)
            return is_saved and len(world.held()) == 2 * workers

        until(is_under_way, "a checkpoint and a trial ahead of every worker")
        for each in crew.members:
            _kill(each)
        orphans = {row.number for row in world.running()}
        ahead = {row.number for row in world.held()} - orphans
        before = len(seconds_of_epochs(noted))
        world.move_clock()
        crew.start(module=PROBE, PROBE_EPOCHS=noted)
        until(world.is_told, "all trials told", seconds=LONG_SECONDS)
        problems = crew.wait()
    attempts = {row.number: row.attempt for row in world.rows()}
    again = sorted(number for number, attempt in attempts.items() if attempt == 2)
    if again != sorted(orphans):
        problems.append(f"trials {sorted(orphans)} were orphaned, {again} have a second attempt")
    trained = len(seconds_of_epochs(noted))
    # From their starts, the orphans would cost all that was trained of them once more.
    if trained >= world.epochs + before:
        problems.append(f"{trained} epochs were trained: no trial went on from its checkpoint")
    figures = {
        "workers killed": workers,
        "trials": trials,
        "resumed": len(again),
        "claimed ahead, begun later": len(ahead),
        "epochs undisturbed": world.epochs,
        "epochs trained": trained,
    }
    return Verdict(figures, problems + world.problems())


def flipped_bit(folder: Path, server: Server, *, epochs: int = 24) -> Verdict:
    """The newest checkpoint is damaged in the database: the one before is used."""
    url = server.make_database("muster_flipped_bit")
    world = make_world(folder, url, trials=1, epochs=epochs)
    noted, leash = folder / "epochs", folder / "leash"
    let_train(leash, epochs // 2)
    # A checkpoint an epoch: the epochs between two that were stored decide the figures.
    with Crew(world, checkpoint_seconds=EVERY_EPOCH, lease_seconds=LONG_LEASE_SECONDS) as crew:
        first = crew.start(module=PROBE, PROBE_EPOCHS=noted, PROBE_LEASH=leash)
        until(lambda: len(seconds_of_epochs(noted)) == epochs // 2, "half of the first fold")
        until(lambda: _kept(world) >= 1, "a kept checkpoint")
        let_train(leash, epochs + epochs // 2)
        until(lambda: _kept(world) >= 2, "two kept checkpoints")
        _kill(first)
        before = len(seconds_of_epochs(noted))
        [names] = world.checkpoints().values()
        flip_bit(world.engine, newest(world.engine, list(names.values())))
        world.move_clock()
        second = crew.start(module=PROBE, PROBE_EPOCHS=noted)
        problems = crew.wait()
        said = crew.log(second)
    if "damaged" not in said:
        problems.append("the damaged checkpoint was not reported")
    after = len(seconds_of_epochs(noted)) - before
    if after >= world.epochs:
        problems.append("the trial began anew, though an older checkpoint was whole")
    figures = {
        "epochs before": before,
        "epochs after": after,
        "epochs undisturbed": world.epochs,
    }
    return Verdict(figures, problems + world.problems())


def newest(engine: Engine, shas: list[str]) -> str:
    """The blob that was stored last."""
    query = select(blobs.c.sha).where(blobs.c.sha.in_(shas)).order_by(blobs.c.used_at.desc())
    with engine.connect() as connection:
        return str(connection.execute(query.limit(1)).scalar_one())


def flip_bit(engine: Engine, sha: str) -> None:
    """Flip one bit in the middle of a stored blob's first row."""
    is_first = (chunks.c.sha == sha) & (chunks.c.position == 0)
    with engine.begin() as connection:
        data = bytearray(connection.execute(select(chunks.c.data).where(is_first)).scalar_one())
        data[len(data) // 2] ^= 1
        connection.execute(chunks.update().where(is_first).values(data=bytes(data)))


def _kept(world: World) -> int:
    return sum(len(names) for names in world.checkpoints().values())


def _kill(process: Process) -> None:
    process.kill()
    process.join()
