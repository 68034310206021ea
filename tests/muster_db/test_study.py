from __future__ import annotations

import pytest
from optuna.trial import TrialState
from sqlalchemy import Engine

from muster.errors import UserError
from muster_db import trials, workers
from muster_db.study import Contract, list_studies, open_study
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


def test_workers_have_ordinals_and_counts(engine: Engine) -> None:
    study = make_study(engine)
    joined = [workers.register(engine, study, host=f"h{n}", device="cpu") for n in range(2)]
    assert [worker.ordinal for worker in joined] == [0, 1]
    claim = take(engine, study, worker_id=joined[0].worker_id)
    take(engine, study, worker_id=joined[1].worker_id)
    trials.tell(engine, claim, state=TrialState.COMPLETE, value=1.0, attributes={}, blobs={})
    workers.beat(engine, joined[1])
    workers.leave(engine, joined[0])
    first, second = workers.list_workers(engine, study)
    assert (first.told, first.running, second.told, second.running) == (1, 0, 0, 1)
    assert first.left_at is not None
    assert second.left_at is None
