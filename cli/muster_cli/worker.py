"""muster worker: attach this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from muster.errors import UserError
from muster_cli.console import progress
from muster_cli.options import Db, open_database, settings_for
from muster_db.study import list_studies


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
    db: Db = None,
) -> None:
    """Attach this machine to the search.

    Runs trials until all have ended. Ctrl-C gives the trial back for others to go on with.
    """
    # torch takes seconds to import, so only the commands that train pay for it.
    from muster_worker.loop import work  # noqa: PLC0415
    from muster_worker.machine import find_machine  # noqa: PLC0415
    from muster_worker.signals import stop_on_signals  # noqa: PLC0415

    settings = settings_for(db)
    with stop_on_signals() as stop:
        engine = open_database(settings)
        if not list_studies(engine):
            place = engine.url.render_as_string(hide_password=True)
            raise UserError(
                f"{place}: there is no study to serve; create one with "
                "`muster study create NAME --data DATASET --space SPACE.toml`"
            )
        machine = find_machine(
            device=device or settings.device, threads=threads or settings.threads
        )
        ended = work(engine, study_name=study, machine=machine, settings=settings, stop=stop)
    if ended.gave_up:
        raise UserError(ended.gave_up)
    counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(ended.counts.items()))
    progress.print(f"worker: done ({counts or 'nothing was left to run'})")
