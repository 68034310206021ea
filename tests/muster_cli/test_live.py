from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event

import pytest
from optuna.trial import TrialState
from sqlalchemy import Engine
from typer.testing import CliRunner

from muster.errors import UserError
from muster.settings import Settings
from muster_cli import live
from muster_cli.commands import app
from muster_db import schema
from muster_db.engine import connect
from muster_db.ensembles import Snapshot, current, take_turn
from samples import make_study, take
from searches import tell
from voters import make_voters, tell_voter

WAIT_SECONDS = 30.0


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = connect(f"sqlite:///{tmp_path / 'muster.db'}")
    schema.initialise(made)
    yield made
    made.dispose()


@pytest.fixture
def settings(engine: Engine, tmp_path: Path) -> Settings:
    url = engine.url.render_as_string()
    return Settings(db_url=url, cache_dir=tmp_path / "cache", ensemble_seconds=1000)


def aside(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    """What runs in the place of the other muster process: imports cost seconds."""
    monkeypatch.setattr(
        live, "muster_command", lambda *words: [sys.executable, "-I", "-c", program, *words]
    )


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_worker_that_ends_leaves_the_ensemble_of_all_trials(
    engine: Engine, settings: Settings
) -> None:
    nothing = make_study(engine, name="nothing completed")
    tell(engine, take(engine, nothing), None, state=TrialState.PRUNED)
    study = make_voters(engine, trials=4)
    other = make_voters(engine, trials=1, name="other", seed=1)
    with live.estimating(engine, study=None, settings=settings, stop=Event()):
        assert current(engine, study) is None
    found = current(engine, study)
    assert found is not None
    assert (found.trials, found.asked) == (4, "majority")
    assert current(engine, other) is not None
    tell_voter(engine, study, error=0.1)
    with live.estimating(engine, study="study", settings=settings, stop=Event()):
        pass
    found = current(engine, study)
    assert found is not None
    assert (found.trials, found.single) == (5, 4)


@pytest.mark.parametrize("why", ["stopped", "voted after", "switched off"])
def test_no_last_estimate_is_made_where_nobody_waits_for_it(
    engine: Engine, settings: Settings, why: str
) -> None:
    study = make_voters(engine, trials=2)
    stop = Event()
    if why == "switched off":
        settings = settings.model_copy(update={"ensemble_seconds": 0})
    with live.estimating(
        engine, study=None, settings=settings, stop=stop, is_voted_after=why == "voted after"
    ):
        if why == "stopped":
            stop.set()
    assert current(engine, study) is None


def test_estimates_are_made_beside_training_with_the_lowest_priority(
    engine: Engine, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = make_voters(engine, trials=2)
    told = tmp_path / "told.json"
    aside(
        monkeypatch,
        "import json, os, pathlib, sys, time\n"
        "while os.getpriority(os.PRIO_PROCESS, 0) < 19: time.sleep(0.01)\n"
        "names = 'OMP_NUM_THREADS', 'MUSTER_DB_URL'\n"
        f"new = pathlib.Path({str(told)!r} + '.new')\n"
        "new.write_text(json.dumps([sys.argv[1:], *map(os.environ.get, names)]))\n"
        f"new.rename({str(told)!r})\n",
    )
    often = settings.model_copy(update={"ensemble_seconds": 0.05})
    with live.estimating(engine, study=None, settings=often, stop=Event(), is_voted_after=True):
        wait_for(told.is_file)
    words, threads, url = json.loads(told.read_text())
    assert words == ["ensemble", study.name, "--live"]
    assert (threads, url) == ("1", settings.db_url)


def test_an_estimate_that_takes_too_long_is_given_up_and_the_study_rests(
    engine: Engine,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    make_voters(engine, trials=2)
    aside(monkeypatch, "import time; time.sleep(1000)")
    monkeypatch.setattr(live, "LONGEST_SECONDS", 0.3)
    monkeypatch.setattr(live, "RESTS", 1000.0)
    often = settings.model_copy(update={"ensemble_seconds": 0.05})
    with live.estimating(engine, study=None, settings=often, stop=Event(), is_voted_after=True):
        wait_for(lambda: "is given up" in caplog.text)
    assert take_turn(engine, hold_seconds=1) is None
    assert take_turn(engine, hold_seconds=1, is_last=True) == "study"


def test_an_unknown_rule_is_refused_before_anything_trains(
    engine: Engine, settings: Settings
) -> None:
    odd = settings.model_copy(update={"ensemble_rule": "mayority"})
    with (
        pytest.raises(UserError, match="unknown voting rule 'mayority'"),
        live.estimating(engine, study=None, settings=odd, stop=Event()),
    ):
        raise AssertionError


def test_status_shows_what_the_other_process_has_found(
    engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = make_voters(engine, trials=3)
    monkeypatch.setenv("MUSTER_DB_URL", settings.db_url)
    monkeypatch.setenv("MUSTER_CACHE_DIR", str(settings.cache_dir))
    monkeypatch.setenv("MUSTER_ENSEMBLE_RULE", "soft")
    call = CliRunner().invoke
    assert "ensemble:" not in call(app, ["status", "study"]).stdout
    made = call(app, ["ensemble", "study", "--live"])
    assert (made.exit_code, made.stdout) == (0, "")
    found = current(engine, study)
    assert isinstance(found, Snapshot)
    shown = call(app, ["status", "study"]).stdout
    assert f"{found.nested:.4f} ({found.low:.4f} to {found.high:.4f})" in shown
    assert f"{found.nested:.4f}" in shown.splitlines()[1]
    (told,) = json.loads(call(app, ["status", "--json"]).stdout)
    assert Snapshot.model_validate(told["ensemble"]) == found
    assert found.rule == "soft"
