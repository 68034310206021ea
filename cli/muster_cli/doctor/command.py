"""The command: reads, has each reading judged, shows what to mend."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import typer
from rich.table import Table
from rich.text import Text
from sqlalchemy import Engine

from muster.errors import MusterError, Unavailable, UserError
from muster.findings import Finding
from muster.settings import Settings
from muster_cli.console import print_json, results
from muster_cli.doctor.disk import judge_disk, read_free
from muster_cli.doctor.python import judge_python
from muster_cli.doctor.torch import judge_gpu, judge_torch, read_gpu, read_torch
from muster_cli.doctor.versions import judge_muster
from muster_cli.options import (
    FIRST_SECONDS,
    Db,
    Json,
    connect,
    database_url,
    open_for_worker,
    settings_for,
)
from muster_db import checks, urls
from muster_db.distance import round_trip_seconds
from muster_db.proxy.client import is_remote
from muster_db.study import OPEN, list_studies

COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}
DATABASE = "database"


def doctor(db: Db = None, json: Json = False) -> None:
    """Check this machine and the database, and say what to mend.

    Exit code 0: nothing fails; 2: something does; 3: the database is not to be reached.
    """
    settings = settings_for(db)
    found = [*_machine(settings)]
    away = False
    try:
        found += _database(settings)
    except Unavailable as error:
        away = True
        found.append(Finding(DATABASE, "fail", "not to be reached", str(error)))
    if json:
        print_json([asdict(each) for each in found])
    else:
        results.print(findings_table(found))
    if away or any(each.status == "fail" for each in found):
        raise typer.Exit(Unavailable.exit_code if away else UserError.exit_code)


def findings_table(found: list[Finding]) -> Table:
    """A row a finding, and below what to do about it."""
    table = Table(box=None, show_header=False)
    for each in found:
        table.add_row(Text(each.status, style=COLOURS[each.status]), each.check, each.found)
        if each.mend:
            table.add_row("", "", f"-> {each.mend}")
    return table


def _machine(settings: Settings) -> Iterator[Finding]:
    yield judge_python(tuple(sys.version_info[:3]))
    torch = read_torch()
    yield judge_torch(torch)
    if torch is not None:
        yield judge_gpu(read_gpu(), device=settings.device)
    yield judge_disk("cache", settings.cache_dir, read_free(settings.cache_dir))


def _database(settings: Settings) -> list[Finding]:
    """Raises Unavailable where nobody answers."""
    try:
        found = [] if is_remote(database_url(settings)) else _server(settings)
        return [*found, *_contents(settings)]
    except Unavailable:
        raise
    except MusterError as error:
        return [Finding(DATABASE, "fail", "refused", str(error))]


def _server(settings: Settings) -> list[Finding]:
    engine = connect(settings).execution_options(muster_patience=FIRST_SECONDS)
    if not _exists(engine):
        return []
    kind, number = checks.read_version(engine)
    found = [
        Finding(DATABASE, "ok", urls.show(engine.url)),
        checks.judge_version(kind, number),
    ]
    if kind == "sqlite":
        folder = Path(str(engine.url.database)).absolute().parent
        return [*found, judge_disk(DATABASE, folder, read_free(folder))]
    found.append(checks.judge_skew(checks.read_skew(engine)))
    return found + checks.judge_server(checks.read_server(engine), host=engine.url.host or "")


def _exists(engine: Engine) -> bool:
    """Whether asking makes nothing: SQLite would make a file."""
    file = engine.url.database
    return engine.dialect.name != "sqlite" or file is None or Path(file).exists()


def _contents(settings: Settings) -> list[Finding]:
    """The tables, and the studies in them."""
    try:
        database = open_for_worker(settings)
        seconds = round_trip_seconds(database)
        studies = {
            each.name: each.contract.code_version
            for each in list_studies(database)
            if each.state == OPEN
        }
    except Unavailable:
        raise
    except MusterError as error:
        return [Finding("tables", "fail", "not as this muster needs them", str(error))]
    count = f"{len(studies)} open stud{'y' if len(studies) == 1 else 'ies'}"
    return [
        checks.judge_round_trip(seconds),
        Finding("tables", "ok", count),
        judge_muster(version("muster"), studies),
    ]
