"""muster worker --slots: several worker processes on one device, each as --slots 1 would be."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass

from pydantic import TypeAdapter, ValidationError

from muster.errors import UserError
from muster.settings import Settings, Slots
from muster_cli.console import progress
from muster_cli.options import database_url
from muster_cli.processes import muster_command
from muster_db.database import Database
from muster_worker.children import start_child
from muster_worker.probe import Probe
from muster_worker.signals import StopRequest
from muster_worker.slots import supervise


@dataclass(frozen=True)
class Shares:
    """How a machine is shared out. slots: None leaves it to the probe; most: slots in all."""

    slots: int | None
    most: int
    threads: int


def parse_slots(given: str | None, settings: Settings) -> Slots:
    """What --slots says, else the setting. Raises UserError."""
    if given is None:
        return settings.slots
    try:
        return TypeAdapter[Slots](Slots).validate_python(given)
    except ValidationError as error:
        raise UserError(f"--slots {given}: give a number from 1, or auto") from error


def share_out(slots: Slots, *, threads: int | None, device: str, cores: int) -> Shares:
    """CPU threads of each slot, and how many slots there may be: slots x threads <= cores.

    Slots on a GPU that is named may outnumber the cores. With auto each takes one thread unless
    threads says more. Raises UserError where the cores do not suffice.
    """
    if slots == "auto":
        each = threads or 1
        return Shares(None, max(1, cores // each), each)
    each = threads or max(1, cores // slots)
    if slots * each > cores and not device.startswith("cuda"):
        raise UserError(
            f"{slots} slots of {each} thread{'s' if each > 1 else ''} each need {slots * each} "
            f"cores, and this machine has {cores}: lower --slots or --threads; on a GPU name it "
            "with --device cuda"
        )
    return Shares(slots, slots, each)


def run_slots(
    engine: Database,
    shares: Shares,
    *,
    study: str | None,
    device: str,
    settings: Settings,
    stop: StopRequest,
) -> None:
    """Run the slots until each has ended, and say in one line what they are.

    Raises MusterError as the worst of the slots did.
    """
    url = database_url(settings)
    # Its connections would only lie idle: each slot has its own.
    engine.dispose()
    command = muster_command("worker", *(["--study", study] if study else []), "--device", device)
    command += ["--threads", str(shares.threads)]

    def start(number: int, pipe: int) -> subprocess.Popen[bytes]:
        return start_child(
            [*command, "--slot", str(number), "--report-to", str(pipe)],
            url=url,
            threads=shares.threads,
            environment=os.environ,
            pipes=[pipe],
        )

    count = f"up to {shares.most}" if shares.slots is None else str(shares.slots)
    what = f"study {study}" if study else "all open studies"
    progress.print(f"worker: {count} slots for {what}, CPU threads of each: {shares.threads}")
    supervise(start, slots=shares.slots, stop=stop, probe=Probe(most=shares.most))


def cores() -> int:
    """CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
