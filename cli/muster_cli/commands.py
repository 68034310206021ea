"""All commands of muster."""

from __future__ import annotations

from muster_cli import (
    bundle,
    data,
    database,
    ensemble,
    fleet,
    proxy,
    run,
    serve,
    status,
    study,
    team,
    worker,
)
from muster_cli.doctor.command import doctor
from muster_cli.root import new_app

app = new_app()
app.command("run")(run.run)
app.command("worker")(worker.worker)
app.command("proxy")(proxy.proxy)
app.command("status")(status.status)
app.command("ensemble")(ensemble.ensemble)
app.command("export")(ensemble.export)
app.command("predict")(bundle.predict)
app.command("dashboard")(serve.dashboard)
app.command("doctor")(doctor)
app.command("invite")(team.invite)
app.command("members")(team.show_members)
app.command("revoke")(team.revoke)
app.add_typer(database.app, name="db")
app.add_typer(data.app, name="data")
app.add_typer(study.app, name="study")
app.add_typer(bundle.app, name="bundle")
app.add_typer(fleet.app, name="fleet")
