from __future__ import annotations

import optuna
import pytest
from sqlalchemy import Engine, func, select

from muster.errors import UserError
from muster_db import trials
from muster_db.contract import Contract
from muster_db.study import delete_study, list_studies, open_study
from muster_db.tables import optuna_trials
from muster_db.tables import trials as table
from samples import make_contract, make_study, take
from searches import load


def test_an_opened_study_has_the_contract_it_was_created_with(engine: Engine) -> None:
    created = make_study(engine, budget=4)
    opened = open_study(engine, "study")
    assert opened == created
    assert opened.contract.hash == created.contract.hash


def test_optuna_names_the_metric_of_a_study(engine: Engine) -> None:
    make_study(engine, metric="log_loss", direction="minimize")
    assert load(engine, "study").metric_names == ["log_loss"]


def test_a_contract_survives_json_and_its_hash_tells_it_from_another() -> None:
    contract = make_contract()
    assert Contract.model_validate_json(contract.canonical) == contract
    assert contract.hash != make_contract(seed=8).hash


@pytest.mark.parametrize("budget", [0, -3])
def test_a_budget_below_one_is_refused_and_nothing_is_made(engine: Engine, budget: int) -> None:
    with pytest.raises(UserError, match="ask for 1 or more"):
        make_study(engine, budget=budget)
    assert list_studies(engine) == []


def test_an_unknown_study_is_named_with_the_known_ones(engine: Engine) -> None:
    make_study(engine, name="pain")
    with pytest.raises(UserError, match="no study 'paint'; the studies here: pain"):
        open_study(engine, "paint")


def test_deleted_study_leaves_no_trial_and_its_name_is_free(engine: Engine) -> None:
    study = make_study(engine)
    claim = take(engine, study)
    trials.report(engine, claim, [(0, 0.5)])
    delete_study(engine, study)
    with engine.connect() as connection:
        for each in (table, optuna_trials):
            assert connection.execute(select(func.count()).select_from(each)).scalar() == 0
    with pytest.raises(UserError, match="there is no study 'study'"):
        open_study(engine, "study")
    take(engine, make_study(engine))


def test_study_that_optuna_deletes_does_not_leave_its_ids_taken(engine: Engine) -> None:
    take(engine, make_study(engine))
    url = engine.url.render_as_string(hide_password=False)
    optuna.delete_study(study_name="study", storage=url)
    assert take(engine, make_study(engine)).number == 0
