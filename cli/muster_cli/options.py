"""Options that several commands share, and what they open."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from sqlalchemy import Engine

from muster.errors import AccessDenied, NotAllowed, UserError
from muster.metrics import METRICS
from muster.settings import Settings, load_settings
from muster_cli.console import opened
from muster_cli.invitation import refusal, settings_at, token_of
from muster_db import engine as engines
from muster_db import schema, tokens, urls
from muster_db.database import Database
from muster_db.proxy.client import Remote, is_remote
from muster_db.pruning import PRUNERS
from muster_db.samplers import SAMPLERS

# A command that finds nobody at the URL says so soon; one that is at work waits longer.
FIRST_SECONDS = 5.0

Db = Annotated[
    str | None,
    typer.Option(
        "--db",
        "--join",
        help="The shared database's URL or a join token; a file that holds one, or - for "
        "standard input.  [MUSTER_JOIN; MUSTER_DB_URL; sqlite:///muster.db]",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]
DatasetFile = Annotated[Path, typer.Argument(help="The dataset file (TOML).")]
DataRoot = Annotated[
    Path | None,
    typer.Option(
        "--data-root",
        help="Folder that the dataset file's paths start from.  [MUSTER_DATA; its own folder]",
    ),
]
StudyName = Annotated[str, typer.Argument(help="The study's name.")]
SpaceFile = Annotated[Path, typer.Option("--space", help="The search space file (TOML).")]
Folds = Annotated[int, typer.Option("--folds", help="Folds of the cross-validation.")]
Metric = Annotated[str, typer.Option("--metric", help=f"A trial's value: {', '.join(METRICS)}.")]
Seed = Annotated[int, typer.Option("--seed", help="Decides folds, sampling and training.")]
Sampler = Annotated[str, typer.Option("--sampler", help=f"One of {', '.join(SAMPLERS)}.")]
WarmStart = Annotated[
    str | None,
    typer.Option("--warm-start", help="Begin with the best 10 of an earlier study; NAME:N for N."),
]
Pruner = Annotated[str, typer.Option("--pruner", help=f"One of {', '.join(PRUNERS)}.")]
Patience = Annotated[
    int | None,
    typer.Option("--patience", help="End after so many trials without a better value."),
]
PatienceOn = Annotated[
    Literal["best", "ensemble"],
    typer.Option(
        "--patience-on",
        help="Whose better value renews the patience: the best trial's, or "
        "the ensemble's nested estimate.",
    ),
]
TimeLimit = Annotated[
    str | None,
    typer.Option("--time-limit", help="Begin no trial after so long: 90s, 45m, 8h or 2d."),
]


def settings_for(db: str | None) -> Settings:
    """Settings of the environment, with --db or --join over MUSTER_DB_URL and MUSTER_JOIN."""
    settings = load_settings()
    if not db and settings.join and "db_url" in settings.model_fields_set:
        raise UserError("MUSTER_JOIN and MUSTER_DB_URL name a database each; unset one of them")
    given = db or settings.join
    return settings_at(settings, given) if given else settings


def database_url(settings: Settings) -> str:
    """The URL with the password out of MUSTER_DB_PASSWORD_FILE where it holds none itself."""
    if (token := token_of(settings)) is not None:
        url = tokens.url_of(token, folder=settings.cache_dir)
        return url.render_as_string(hide_password=False)
    url = urls.parse(settings.db_url)
    if settings.db_password_file is not None and url.password is None and url.host:
        # Without a user name, which a proxy does not ask for, a URL would leave its password out.
        password = _read_password(settings.db_password_file)
        url = url.set(username=url.username or "", password=password)
    return url.render_as_string(hide_password=False)


def connect(settings: Settings) -> Engine:
    """An engine that the command's end closes; whether the database is there is not looked at."""
    engine = engines.connect(database_url(settings))
    opened.callback(engine.dispose)
    return engine


def open_database(settings: Settings) -> Engine:
    """Connect to a database that is there, with its tables, and of this version.

    Raises UserError for an SQLite file that is missing: looking must not make an empty one.
    """
    engine = connect(settings)
    file = engine.url.database
    if engine.dialect.name == "sqlite" and file is not None and not Path(file).exists():
        raise UserError(
            f"{file}: there is no such database; name yours with --db or MUSTER_DB_URL (that of "
            "a `muster run` lies beside its results: sqlite:///runs/NAME/muster.db), or make one "
            f"with `muster db init --db sqlite:///{file}`"
        )
    try:
        schema.check(engine.execution_options(muster_patience=FIRST_SECONDS))
    except AccessDenied as error:
        if (token := token_of(settings)) is None or isinstance(error, NotAllowed):
            raise
        raise refusal(error, token) from error
    return engine


def open_for_worker(settings: Settings) -> Database:
    """open_database, or connect to the proxy that the URL names."""
    url = database_url(settings)
    if not is_remote(url):
        return open_database(settings)
    remote = Remote(url, patience_seconds=FIRST_SECONDS)
    opened.callback(remote.dispose)
    schema.check(remote)
    return remote


def make_database(settings: Settings) -> Engine:
    """Connect to a database; its tables are made, or brought to this version, where need be."""
    engine = connect(settings)
    schema.initialise(engine.execution_options(muster_patience=FIRST_SECONDS))
    return engine


def open_or_make(settings: Settings) -> Engine:
    """make_database for the embedded default, which needs no set-up, open_database for a server.

    For the commands that begin something: what they store is the first to be there.
    """
    is_embedded = urls.parse(database_url(settings)).get_backend_name() == "sqlite"
    return make_database(settings) if is_embedded else open_database(settings)


def _read_password(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise UserError(f"MUSTER_DB_PASSWORD_FILE: {path}: {error.strerror}") from error
