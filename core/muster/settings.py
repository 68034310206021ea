"""Settings from the environment: the one place that reads it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from muster.errors import UserError
from muster.spelling import known_names

PREFIX = "MUSTER_"
# A beat may be late or lost without the lease.
BEATS_PER_LEASE = 3
# The compose file reads these; they may stand in the same environment.
COMPOSE_ONLY = frozenset(
    {
        "MUSTER_DB_PORT",
        "MUSTER_DASHBOARD_PORT",
        "MUSTER_PUBLIC",
        "MUSTER_PUBLIC_HOST",
        "MUSTER_TRIALS",
    }
)

Slots = Annotated[int, Field(ge=1)] | Literal["auto"]


class Settings(BaseModel):
    """What an operator may set; each field is the variable MUSTER_<FIELD>."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    db_url: str = Field("sqlite:///muster.db", description="the shared database")
    db_password_file: Path | None = Field(
        None, description="file that holds the password which the URL leaves out"
    )
    join: str | None = Field(
        None, description="join token in the place of a URL, or a file that holds one", repr=False
    )
    address: str | None = Field(
        None, description="HOST:PORT at which invited members reach the database"
    )
    data: Path | None = Field(
        None, description="folder that relative paths in dataset files start from"
    )
    cache_dir: Path = Field(
        default_factory=lambda: Path(platformdirs.user_cache_dir("muster")),
        description="folder of fetched datasets",
    )
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N")
    threads: int | None = Field(None, ge=1, description="CPU threads of one worker")
    slots: Slots = Field(1, description="trials that one worker trains at once: a number or auto")
    probe_seconds: float = Field(
        5.0, ge=0, description="how long a worker that waits for its first trial tries its speed"
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="the log's form: text, or json with one object a line"
    )
    lease_seconds: float = Field(60.0, gt=0, description="how long a silent worker keeps a trial")
    heartbeat_seconds: float = Field(
        5.0, gt=0, description="how often a worker reports and extends its lease"
    )
    checkpoint_seconds: float = Field(30.0, gt=0, description="time between two checkpoints")
    max_attempts: int = Field(3, ge=1, description="attempts before a trial is told FAIL")
    keep_weights: int = Field(20, ge=1, description="best trials that keep their weights")
    ensemble_seconds: float = Field(
        60.0, ge=0, description="time between two estimates of the current ensemble; 0: none"
    )
    ensemble_rule: str = Field("majority", description="the rule of the current ensemble")
    dashboard_login: Literal["token", "basic", "proxy"] = Field(
        "token", description="how the dashboard knows who is asking"
    )
    dashboard_url: str | None = Field(None, description="where browsers reach the dashboard")
    dashboard_session_seconds: float = Field(
        7 * 24 * 3600.0, ge=1, description="how long a login to the dashboard lasts"
    )
    dashboard_key_file: Path | None = Field(
        None, description="file of the key that signs the dashboard's cookies"
    )
    dashboard_users_file: Path | None = Field(
        None, description="file of the names and hashed passwords of the login basic"
    )
    dashboard_proxy_header: str | None = Field(
        None, description="header in which the proxy of the login proxy names the user"
    )
    dashboard_proxy_address: str | None = Field(
        None, description="addresses or networks of that proxy"
    )
    dashboard_admins: str | None = Field(
        None, description="users of that proxy who may act, with commas between"
    )
    dashboard_metrics_token_file: Path | None = Field(
        None, description="file of a token that may read /metrics"
    )

    @model_validator(mode="after")
    def _check_heartbeat(self) -> Settings:
        if self.heartbeat_seconds > self.lease_seconds / BEATS_PER_LEASE:
            raise ValueError(
                f"{PREFIX}HEARTBEAT_SECONDS={self.heartbeat_seconds:g} is more than a third of "
                f"{PREFIX}LEASE_SECONDS={self.lease_seconds:g}, so that a worker could lose its "
                "trials while it lives; lower the one or raise the other"
            )
        return self


def variables() -> dict[str, str]:
    """Every variable and what it means, for the help texts and the docs."""
    return {
        PREFIX + name.upper(): field.description or ""
        for name, field in Settings.model_fields.items()
    }


def load_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Read MUSTER_* variables. Raises UserError that names every bad one at once."""
    source = os.environ if environment is None else environment
    given = {key: value for key, value in source.items() if key.startswith(PREFIX)}
    known = variables()
    problems = [
        f"{key}: unknown; {known_names(key, known)}"
        for key in given
        if key not in known and key not in COMPOSE_ONLY
    ]
    fields = {key.removeprefix(PREFIX).lower(): given[key] for key in known if given.get(key)}
    try:
        settings = Settings.model_validate(fields)
    except ValidationError as error:
        problems += [_problem(each) for each in error.errors()]
    if problems:
        raise UserError(
            "bad settings in the environment; mend or unset:\n  " + "\n  ".join(problems)
        )
    return settings


def log_format(environment: Mapping[str, str] | None = None) -> str:
    """MUSTER_LOG_FORMAT, before the rest is read: what is wrong with that is to be logged."""
    source = os.environ if environment is None else environment
    return "json" if source.get(f"{PREFIX}LOG_FORMAT") == "json" else "text"


def _problem(error: ErrorDetails) -> str:
    """One line that names the variable; what concerns several names them itself."""
    if not error["loc"]:
        return error["msg"].removeprefix("Value error, ")
    return f"{PREFIX}{str(error['loc'][0]).upper()}: {error['msg']}"
