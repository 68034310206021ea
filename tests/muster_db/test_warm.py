from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from optuna.trial import TrialState
from sqlalchemy import Engine

from muster.errors import UserError
from muster_db import trials
from muster_db.contract import Contract
from muster_db.mirror import Mirror
from muster_db.records import Proposal
from muster_db.samplers import SAMPLERS
from muster_db.study import Study, open_study
from muster_db.warm import warm_start
from samples import make_contract, make_study, take

FIRST = tuple({"rate": rate} for rate in (0.001, 0.002, 0.003, 0.004, 0.005, 0.006))


def suggest(trial: Any) -> None:
    trial.suggest_float("rate", 1e-4, 1e-2, log=True)
    if trial.suggest_categorical("kind", ["gru", "cnn"]) == "gru":
        trial.suggest_int("gru.layers", 1, 4)


def wider(trial: Any) -> None:
    trial.suggest_float("rate", 1e-4, 1e-1, log=True)
    if trial.suggest_categorical("kind", ["gru", "cnn", "mlp"]) == "mlp":
        trial.suggest_int("mlp.layers", 1, 4)
    trial.suggest_categorical("wide", [True, False])


def proposer(engine: Engine, study: Study, ordinal: int = 0) -> Callable[[], Proposal]:
    mirror = Mirror(engine, study)
    return lambda: mirror.propose(suggest, worker_ordinal=ordinal)


@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if name != "gp"])
def test_first_configurations_come_first_and_the_sampler_draws_the_rest(
    lite: Engine, sampler: str
) -> None:
    first = ({"rate": 0.002, "kind": "gru", "gru.layers": 3}, {"kind": "cnn"})
    if sampler == "grid":
        first = ({"kind": "gru"},)
    study = make_study(lite, budget=4, sampler=sampler, try_first=first[:1], warm_start=first[1:])
    claims = [take(lite, study, propose=proposer(lite, study)) for _ in range(4)]
    for claim, given in zip(claims, first, strict=False):
        assert given.items() <= claim.params.items()
        assert "rate" in claim.params
    assert len({repr(claim.params) for claim in claims}) == 4


def test_each_is_handed_out_once_however_many_claim(engine: Engine) -> None:
    """Workers that all drew the same entry, with different values for what it leaves out."""
    study = make_study(engine, budget=8, try_first=FIRST)
    proposers = [proposer(engine, study, ordinal) for ordinal in range(8)]
    stale = [propose() for propose in proposers]
    assert {proposal.params["rate"] for proposal in stale} == {0.001}
    assert len({repr(proposal.params) for proposal in stale}) > 1

    def claim(worker: int) -> trials.Claim:
        queue = [stale[worker]]
        propose = proposers[worker]
        return take(
            engine, study, worker_id=worker, propose=lambda: queue.pop() if queue else propose()
        )

    with ThreadPoolExecutor(4) as pool:
        claims = sorted(pool.map(claim, range(8)), key=lambda claim: claim.number)
    assert [claim.params["rate"] for claim in claims[:6]] == [each["rate"] for each in FIRST]
    assert not {claim.params["rate"] for claim in claims[6:]} & {each["rate"] for each in FIRST}


def test_one_that_is_given_back_is_not_lost(lite: Engine) -> None:
    study = make_study(lite, budget=3, try_first=FIRST[:2])
    propose = proposer(lite, study)
    trials.release(lite, take(lite, study, propose=propose))
    rates = [take(lite, study, propose=propose).params["rate"] for _ in range(2)]
    assert rates == [0.001, 0.002]


def test_contracts_without_first_configurations_keep_their_hash(lite: Engine) -> None:
    plain = make_contract()
    assert "try_first" not in plain.canonical
    assert "warm_start" not in plain.canonical
    warm = make_contract(warm_start=FIRST)
    assert warm.hash != plain.hash
    assert Contract.model_validate_json(warm.canonical) == warm
    make_study(lite, warm_start=FIRST)
    assert open_study(lite, "study").contract.first == FIRST


def tell_some(engine: Engine, study: Study) -> list[dict[str, Any]]:
    """Six trials, of which one is pruned and one ends at infinity; the configurations."""
    propose = proposer(engine, study)
    found = []
    for value in (0.3, 0.9, None, 0.5, float("inf"), 0.7):
        claim = take(engine, study, propose=propose)
        state = TrialState.PRUNED if value is None else TrialState.COMPLETE
        trials.tell(engine, claim, state=state, value=value, attributes={}, blobs={})
        found.append(claim.params)
    return found


def test_the_best_of_an_earlier_study_by_its_own_direction(engine: Engine) -> None:
    params = tell_some(engine, make_study(engine, budget=6, name="old"))
    assert warm_start(engine, "old:2", suggest=suggest) == (params[1], params[5])
    assert warm_start(engine, "old", suggest=suggest, known=[params[5]]) == (
        params[1], params[3], params[0],
    )  # fmt: skip
    least = make_study(engine, budget=6, name="least:3", direction="minimize")
    params = tell_some(engine, least)
    assert warm_start(engine, "least:3", suggest=suggest)[0] == params[0]
    assert warm_start(engine, "least:3:1", suggest=suggest) == (params[0],)


def test_what_does_not_fit_the_new_space_is_left_out_with_one_line(
    lite: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    old = make_study(lite, budget=2, name="old")
    for number, params in enumerate(
        (
            {"rate": 0.05, "kind": "mlp", "wide": True, "mlp.layers": 2},
            {"rate": 0.005, "kind": "cnn", "wide": False},
        )
    ):
        mirror = Mirror(lite, make_study(lite, name=f"x{number}", try_first=(params,)))
        proposal = replace(mirror.propose(wider, worker_ordinal=0), only_for=None)
        claim = take(lite, old, propose=lambda proposal=proposal: proposal)
        facts: dict[str, Any] = {"attributes": {}, "blobs": {}}
        trials.tell(lite, claim, state=TrialState.COMPLETE, value=-number, **facts)
    with caplog.at_level(logging.WARNING):
        found = warm_start(lite, "old:2", suggest=suggest)
    assert found == ({"rate": 0.005, "kind": "cnn"},)
    assert len(caplog.records) == 1
    for part in ("warm start from old", "kind (1)", "rate (1)", "wide (2)", "mlp.layers (1)"):
        assert part in caplog.text


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("older", "there is no study 'older'"),
        ("older:3", "there is no study 'older'"),
        ("old:0", "ask for 1 configuration or more"),
        ("old", "no complete trial yet"),
    ],
)
def test_a_warm_start_from_nothing_is_refused(lite: Engine, wanted: str, expected: str) -> None:
    make_study(lite, name="old")
    with pytest.raises(UserError, match=expected):
        warm_start(lite, wanted, suggest=suggest)
