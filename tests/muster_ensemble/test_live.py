from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from optuna.trial import TrialState
from sqlalchemy import Engine

from muster_db import schema
from muster_db.engine import connect
from muster_db.ensembles import current, end_turn, take_turn
from muster_db.study import Study
from muster_ensemble import live
from muster_ensemble.live import free_bytes, look
from samples import make_study, proposer, take
from searches import tell
from voters import make_voters, tell_voter


@pytest.fixture
def engine(sqlite_url: str) -> Iterator[Engine]:
    connected = connect(sqlite_url)
    schema.initialise(connected)
    yield connected
    connected.dispose()


def is_due(engine: Engine, study: Study) -> bool:
    """Whether the study's turn would come now."""
    found = take_turn(engine, hold_seconds=60) is not None
    if found:
        end_turn(engine, study, rest_seconds=0)
    return found


def test_a_look_records_the_best_trial_the_members_and_both_figures(
    engine: Engine, tmp_path: Path
) -> None:
    study = make_voters(engine, trials=3)
    tell_voter(engine, study, error=0.5)
    assert is_due(engine, study)
    found = look(engine, study, rule="soft", cache=tmp_path)
    assert found is not None
    assert (found.trials, found.rule, found.single) == (4, "soft", 3)
    assert sum(member.weight for member in found.members) == pytest.approx(1.0)
    assert found.low <= found.nested <= found.high
    stored = current(engine, study)
    assert stored is not None
    assert stored.model_copy(update={"at": None}) == found
    assert not is_due(engine, study)


def test_trials_that_make_no_ensemble_are_no_news_again(engine: Engine, tmp_path: Path) -> None:
    study = make_study(engine)
    tell(engine, take(engine, study, propose=proposer(3)), None, state=TrialState.PRUNED)
    assert is_due(engine, study)
    assert look(engine, study, rule="soft", cache=tmp_path) is None
    assert not is_due(engine, study)
    assert current(engine, study) is None


def test_a_ledger_too_large_for_this_machine_is_left_to_others(
    engine: Engine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    study = make_voters(engine, trials=2)
    is_due(engine, study)
    monkeypatch.setattr(live, "free_bytes", lambda: 1000.0)
    assert look(engine, study, rule="soft", cache=tmp_path) is None
    assert "`muster ensemble study` makes it on another machine" in caplog.text
    assert is_due(engine, study)


def test_free_memory_is_what_the_system_calls_available(tmp_path: Path) -> None:
    told = tmp_path / "meminfo"
    assert free_bytes(told) == float("inf")
    told.write_text("MemTotal: 8 kB\nMemFree: 1 kB\nMemAvailable:    4 kB\n")
    assert free_bytes(told) == 4096
