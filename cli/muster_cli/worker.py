"""muster worker: attach this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from muster.errors import MusterError, UserError
from muster.settings import Settings
from muster_cli.console import name_slot, progress
from muster_cli.invitation import membership, token_of
from muster_cli.live import estimating
from muster_cli.options import Db, open_for_worker, settings_for
from muster_cli.slots import cores, parse_slots, run_slots, share_out
from muster_db.database import Database, place_of
from muster_db.study import list_studies
from muster_worker.readings import Reporter
from muster_worker.signals import StopRequest, stop_on_signals


def worker(
    study: Annotated[
        str | None, typer.Option("--study", help="One study; all open ones by default.")
    ] = None,
    device: Annotated[
        str | None, typer.Option("--device", help="auto, cpu, cuda or cuda:N.  [MUSTER_DEVICE]")
    ] = None,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="CPU threads.  [MUSTER_THREADS]")
    ] = None,
    slots: Annotated[
        str | None,
        typer.Option(
            "--slots", help="Trials at once: a number, or auto to measure it.  [MUSTER_SLOTS; 1]"
        ),
    ] = None,
    db: Db = None,
    voted_after: Annotated[bool, typer.Option("--voted-after", hidden=True)] = False,
    slot: Annotated[int | None, typer.Option("--slot", hidden=True)] = None,
    report_to: Annotated[int | None, typer.Option("--report-to", hidden=True)] = None,
) -> None:
    """Attach this machine to the search.

    Runs trials until all have ended. Ctrl-C gives the trial back for others to go on with.
    """
    settings = settings_for(db)
    if (token := token_of(settings)) is not None:
        study = study or token.study
    device, threads = device or settings.device, threads or settings.threads
    if slot is not None and report_to is not None:
        _serve_as_slot(slot, report_to, study, device, threads, settings=settings)
        return
    wanted = parse_slots(slots, settings)
    with stop_on_signals() as stop:
        engine = _open(settings)
        with membership(engine, settings, stop):
            if wanted != 1:
                shares = share_out(wanted, threads=threads, device=device, cores=cores())
                run_slots(engine, shares, study=study, device=device, settings=settings, stop=stop)
                progress.print("worker: done")
                return
            with estimating(
                engine, study=study, settings=settings, stop=stop, is_voted_after=voted_after
            ):
                done = _serve(engine, study, device, threads, settings=settings, stop=stop)
    progress.print(f"worker: done ({done})")


def _open(settings: Settings) -> Database:
    engine = open_for_worker(settings)
    if not list_studies(engine):
        raise UserError(
            f"{place_of(engine)}: there is no study to serve; create one with "
            "`muster study create NAME --data DATASET --space SPACE.toml`"
        )
    return engine


def _serve(
    engine: Database,
    study: str | None,
    device: str,
    threads: int | None,
    *,
    settings: Settings,
    stop: StopRequest,
    slot: int | None = None,
    reporter: Reporter | None = None,
) -> str:
    """Train until nothing is left; returns what became of the trials, in words."""
    # torch takes seconds to import, so only the processes that train pay for it.
    from muster_worker.gauge import gauge_of  # noqa: PLC0415
    from muster_worker.loop import work  # noqa: PLC0415
    from muster_worker.machine import find_machine  # noqa: PLC0415

    machine = find_machine(device=device, threads=threads, slot=slot)
    if reporter is not None:
        reporter.gauge = gauge_of(machine.device)
    ended = work(
        engine, study_name=study, machine=machine, settings=settings, stop=stop, reporter=reporter
    )
    if ended.gave_up:
        raise UserError(ended.gave_up)
    counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(ended.counts.items()))
    return counts or "nothing was left to run"


def _serve_as_slot(
    slot: int,
    report_to: int,
    study: str | None,
    device: str,
    threads: int | None,
    *,
    settings: Settings,
) -> None:
    """One of several: its log bears its number, and its supervisor has the last word."""
    name_slot(slot)
    reporter = Reporter(report_to)
    try:
        with stop_on_signals() as stop:
            reporter.stop_when_alone(stop)
            engine = _open(settings)
            with estimating(engine, study=study, settings=settings, stop=stop):
                done = _serve(
                    engine, study, device, threads,
                    settings=settings, stop=stop, slot=slot, reporter=reporter,
                )  # fmt: skip
    except MusterError as error:
        reporter.end(str(error))
        raise typer.Exit(error.exit_code) from error
    progress.print(f"slot {slot}: done ({done})")
