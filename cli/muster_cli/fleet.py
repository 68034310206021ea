"""muster fleet: workers in containers on Docker engines, here or elsewhere."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table
from sqlalchemy import URL

from muster.errors import MusterError, UserError
from muster_cli.console import complain, print_json, progress, results
from muster_cli.options import Db, Json, database_url, open_for_worker, settings_for
from muster_db import urls
from muster_db.study import open_study
from muster_worker.fleet import containers
from muster_worker.fleet.containers import Order
from muster_worker.fleet.engine import LOCAL, connect
from muster_worker.fleet.luggage import pack

app = typer.Typer(
    help="Run workers in containers, here or over SSH.",
    no_args_is_help=True,
)
HERE = frozenset({"localhost", "127.0.0.1", "::1"})

Engine = Annotated[
    str, typer.Argument(help="local, unix:///path/to/docker.sock or ssh://user@host[:port].")
]
Engines = Annotated[list[str] | None, typer.Argument(help="Engines, as for up; local by default.")]
Fleet = Annotated[
    str, typer.Option("--fleet", help="Its name, where an engine has several people's.")
]
FLEET = "muster"
Workers = Annotated[int, typer.Option("--workers", min=0, help="How many containers.")]


@app.command()
def up(
    engine: Engine = LOCAL,
    workers: Annotated[int, typer.Option("--workers", min=1, help="How many containers.")] = 1,
    study: Annotated[
        str | None, typer.Option("--study", help="One study; all open ones by default.")
    ] = None,
    gpus: Annotated[
        str | None,
        typer.Option("--gpus", help="all, or ids such as 0,1 of which each worker takes one."),
    ] = None,
    image: Annotated[
        str, typer.Option("--image", help="The worker's image on that engine.")
    ] = "muster-worker",
    send: Annotated[
        bool, typer.Option("--send", help="Copy the image there from this machine's engine.")
    ] = False,
    slots: Annotated[
        str, typer.Option("--slots", help="Trials at once in each: a number, or auto.")
    ] = "1",
    threads: Annotated[int, typer.Option("--threads", min=1, help="CPU threads of each.")] = 1,
    network: Annotated[
        str | None,
        typer.Option(
            "--network", help="The engine's network to join; host where the database is here."
        ),
    ] = None,
    fleet: Fleet = FLEET,
    db: Db = None,
) -> None:
    """Start workers there. The database's URL or token travels in a file that they alone read."""
    settings = settings_for(db)
    url = urls.parse(database_url(settings))
    luggage = pack(url, token=settings.join)
    database = open_for_worker(settings)
    if study is not None:
        open_study(database, study)
    order = Order(
        fleet=fleet,
        image=image,
        luggage=luggage,
        options=["--slots", slots, "--threads", str(threads)],
        study=study,
        gpus=gpus,
        network=_network(network, url, engine),
        environment={"MUSTER_LOG_FORMAT": settings.log_format},
    )
    client = connect(engine)
    if send:
        progress.print(f"{engine}: copying image {image}")
        containers.send_image(client, connect(LOCAL), engine, image)
    names = containers.up(client, engine, order, workers=workers)
    results.print(f"{engine}: started {', '.join(names)}")


@app.command("list")
def list_(engines: Engines = None, fleet: Fleet = FLEET, json: Json = False) -> None:
    """Show the workers there. An engine that is away hides no other; the exit code tells of it."""
    found: list[containers.Member] = []
    code = 0
    for engine in engines or [LOCAL]:
        try:
            found += containers.members(connect(engine), engine, fleet=fleet)
        except MusterError as error:
            complain(str(error))
            code = error.exit_code
    if json:
        print_json([asdict(each) for each in found])
    else:
        table = Table("engine", "worker", "state", "study", "image", "says", box=None)
        for each in found:
            table.add_row(*asdict(each).values())
        results.print(table)
    if code:
        raise typer.Exit(code)


@app.command()
def scale(workers: Workers, engine: Engine = LOCAL, fleet: Fleet = FLEET) -> None:
    """Have so many workers run there, like the one started last; the newest go first."""
    started, ended = containers.scale(connect(engine), engine, fleet=fleet, workers=workers)
    if not started and not ended:
        results.print(f"{engine}: {workers} run already")
    for what, names in (("started", started), ("ended", ended)):
        if names:
            results.print(f"{engine}: {what} {', '.join(names)}")


@app.command()
def logs(
    engine: Engine = LOCAL,
    lines: Annotated[int, typer.Option("--lines", min=1, help="Of each, at most.")] = 20,
    fleet: Fleet = FLEET,
) -> None:
    """Show what the workers there have logged."""
    found = containers.logs(connect(engine), engine, fleet=fleet, lines=lines)
    for name, said in found.items():
        for line in said:
            results.print(f"{name}: {line}")


@app.command()
def down(engines: Engines = None, fleet: Fleet = FLEET) -> None:
    """End the workers there; they give their trials back, and others go on."""
    for engine in engines or [LOCAL]:
        names = containers.down(connect(engine), engine, fleet=fleet)
        ended = f"ended {', '.join(names)}" if names else "there was no worker"
        results.print(f"{engine}: {ended}")


def _network(asked: str | None, url: URL, engine: str) -> str:
    """The network to join. Raises UserError where the URL would lead to another machine."""
    if asked is not None or url.host not in HERE:
        return asked or "bridge"
    if engine.startswith("ssh://"):
        raise UserError(
            f"{url.host} in the database's URL is this machine; from {engine} name it by an "
            "address that leads here, or, with a tunnel there, add --network host"
        )
    return "host"
