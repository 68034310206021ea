from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from optuna.trial import TrialState
from sqlalchemy import Engine

from databases import sqlite_with_tables
from muster.errors import UserError
from muster_cli.contract import differences
from muster_cli.going_on import find, go_on, say_if_cut, this_command
from muster_db.claims import Claim, claim
from muster_db.limits import NO_LIMITS, Limits
from muster_db.progress import progress
from muster_db.study import Study, create_study, open_study
from muster_db.trials import tell
from samples import make_contract, proposer

PATIENT = Limits(patience=2)
PROPOSE = proposer()


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = sqlite_with_tables(tmp_path / "muster.db")
    yield made
    made.dispose()


@pytest.fixture
def study(engine: Engine) -> Study:
    """A study of 24 trials that its patience has ended after 3."""
    made = create_study(engine, name="s", contract=make_contract(), budget=24, limits=PATIENT)
    search(engine, made)
    return open_study(engine, "s")


def search(engine: Engine, study: Study) -> None:
    """Run what the budget and the limits allow; each value is worse than the last."""
    value = 0.0
    while isinstance(
        held := claim(engine, study, worker_id=1, lease_seconds=60, propose=PROPOSE), Claim
    ):
        value -= 1.0
        tell(engine, held, state=TrialState.COMPLETE, value=value, attributes={}, blobs={})


def test_a_repeated_run_leaves_a_study_ended_that_a_limit_has_ended(
    engine: Engine, study: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    for trials, limits in ((24, PATIENT), (None, NO_LIMITS), (24, NO_LIMITS)):
        now = go_on(engine, study, trials=trials, limits=limits)
        assert (now.budget, now.asked, now.limits) == (3, 24, PATIENT)
        assert progress(engine, now).is_finished
    assert "->" not in capsys.readouterr().err
    say_if_cut(study)
    said = capsys.readouterr().err
    assert "its patience of 2 trials has ended it after 3 of 24 trials" in said
    assert "--trials" in said


def test_more_trials_than_before_extend_the_budget_under_the_limits_of_the_call(
    engine: Engine, study: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    now = go_on(engine, study, trials=28, limits=PATIENT)
    assert (now.budget, now.limits, now.is_cut) == (28, PATIENT, False)
    assert "budget 24 -> 28 trials, from now on patience of 2 trials" in capsys.readouterr().err
    search(engine, now)
    # The value before counts as the best, the trials before do not count as patience.
    assert progress(engine, now).told == 5
    go_on(engine, open_study(engine, "s"), trials=30, limits=NO_LIMITS)
    assert "patience of 2 trials no longer holds" in capsys.readouterr().err
    search(engine, now)
    assert progress(engine, now).told == 30


def test_another_limit_takes_effect_and_is_said(
    engine: Engine, study: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    now = go_on(engine, study, trials=24, limits=Limits(seconds=5400, patience=4))
    assert (now.budget, now.limits) == (24, Limits(seconds=5400, patience=4))
    said = capsys.readouterr().err
    assert "from now on patience of 4 trials and time limit of 90m" in said
    search(engine, now)
    assert progress(engine, now).told == 7
    later = go_on(engine, open_study(engine, "s"), trials=None, limits=Limits(seconds=60))
    assert later.limits == Limits(seconds=60, patience=4)


def test_fewer_trials_than_before_are_said_and_change_nothing(
    engine: Engine, study: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    assert go_on(engine, study, trials=12, limits=NO_LIMITS) == study
    assert "--trials 12 is fewer than the 24 asked for before" in capsys.readouterr().err


def test_another_search_of_that_name_is_refused_with_the_way_out(
    engine: Engine, study: Study
) -> None:
    option = "--db sqlite:///muster.db"
    assert find(engine, "other", make_contract(), db_option=option) is None
    assert find(engine, "s", make_contract(), db_option=option) == study
    with pytest.raises(UserError) as refused:
        find(engine, "s", make_contract(seed=8, metric="accuracy"), db_option=option)
    said = str(refused.value)
    for text in ("seed: 7 there, 8 here", "metric: macro_f1 there, accuracy here", "--name OTHER"):
        assert text in said
    assert "muster study delete s --db sqlite:///muster.db" in said


def test_parts_of_a_contract_are_told_apart_in_words_without_a_hash() -> None:
    contract = make_contract(space={"space": {"epochs": 3, "loss": {"choose": ["focal"]}}})

    def against(**changes: object) -> list[str]:
        return differences(contract, contract.model_copy(update=changes))

    assert against() == []
    other = "0" * 64
    assert against(dataset_fingerprint=other) == [
        "dataset: the content of sample has changed since"
    ]
    assert against(dataset_fingerprint=other, dataset_name="pain") == [
        "dataset: sample there, pain here"
    ]
    space = {"space": {"epochs": 4, "dropout": 0.1, "loss": {"choose": ["focal"]}}}
    assert against(space=space) == ["search space: space.dropout, space.epochs differ"]
    assert against(code_version="9.9") == [
        f"version: muster {contract.code_version} there, 9.9 here"
    ]
    assert against(folds=contract.folds[::-1]) == ["folds: divided in another way"]


def test_the_command_that_goes_on_can_be_typed_and_holds_no_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = "mysql+pymysql://muster:p@ss@host/muster"
    monkeypatch.setattr(sys, "argv", ["/x/pytest", "run", "my data.toml", "--db", url])
    assert (
        this_command() == "muster run 'my data.toml' --db 'mysql+pymysql://muster:***@host/muster'"
    )


def test_patience_on_the_ensemble_takes_the_place_of_the_best_trials(
    engine: Engine, study: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    limits = Limits(patience=2, patience_on="ensemble")
    now = go_on(engine, study, trials=None, limits=limits)
    assert (now.budget, now.limits) == (24, limits)
    assert "from now on patience of 2 trials on the ensemble" in capsys.readouterr().err
    go_on(engine, now, trials=None, limits=limits)
    assert "from now on" not in capsys.readouterr().err
