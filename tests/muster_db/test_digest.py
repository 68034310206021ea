from __future__ import annotations

import math

import pytest
from optuna.trial import TrialState
from sqlalchemy import Engine, event, update

from muster_db import digest, trials
from muster_db.history import Row
from muster_db.mirror import Mirror
from muster_db.study import Study
from muster_db.tables import trials as table
from samples import make_study, take
from searches import tell


def rows(engine: Engine, study: Study) -> list[Row]:
    """What a fresh mirror reads."""
    found: list[Row] = []
    mirror = Mirror(engine, study)
    mirror._history.put = found.append  # type: ignore[method-assign]
    mirror.refresh()
    return found


@pytest.fixture
def study(engine: Engine) -> Study:
    """A study with trials of every kind."""
    made = make_study(engine, budget=9, max_attempts=1)
    early, late, pruned, failed, released = (take(engine, made) for _ in range(5))
    tell(engine, early, 0.1 + 0.2, reports=[(0, 0.5), (10, float("nan"))], is_first_news=True)
    trials.report(engine, late, [(0, 0.25)])
    tell(engine, late, float("inf"), reports=[(1, 1 / 3)])
    tell(engine, pruned, None, state=TrialState.PRUNED, reports=[(0, -float("inf"))])
    trials.fail_attempt(engine, failed, "Traceback")
    trials.release(engine, released)
    take(engine, made, worker_id=2)
    take(engine, made, worker_id=2, ahead=True)
    return made


def test_mirror_reads_the_same_out_of_digests_as_out_of_optunas_tables(
    engine: Engine, study: Study
) -> None:
    read = rows(engine, study)
    with engine.begin() as connection:
        connection.execute(update(table).values(params=None, outcome=None))
    assert repr(rows(engine, study)) == repr(read)
    assert [row.state for row in read[:4]] == [
        TrialState.COMPLETE, TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL
    ]  # fmt: skip
    assert read[1].reports == {0: 0.25, 1: 1 / 3}


def test_study_that_began_before_digests_mixes_both(engine: Engine, study: Study) -> None:
    read = rows(engine, study)
    with engine.begin() as connection:
        old = update(table).where(table.c.number < 2)
        connection.execute(old.values(params=None, outcome=None))
        told = update(table).where(table.c.number == 2)
        connection.execute(told.values(outcome=None))
    assert repr(rows(engine, study)) == repr(read)


def test_one_statement_reads_all_trials_once_their_parameters_are_known(
    engine: Engine, study: Study
) -> None:
    mirror = Mirror(engine, study)
    mirror.refresh()
    tell(engine, take(engine, study), 0.5)
    statements: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *each: statements.append(each[2]))
    mirror.refresh()
    assert sum(each.startswith("SELECT") for each in statements) == 1


@pytest.mark.parametrize("value", [0.1 + 0.2, -0.0, 5e-324, math.inf, None])
def test_outcome_keeps_every_number_to_the_bit(value: float | None) -> None:
    text = digest.of_outcome(TrialState.COMPLETE, value, {3: math.nan, 7: 1 / 3})
    found = digest.read_outcome(text)
    assert (found.state, repr(found.value)) == (TrialState.COMPLETE, repr(value))
    assert repr(found.reports) == repr({3: math.nan, 7: 1 / 3})
