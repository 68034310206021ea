from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from threading import Event
from typing import Any

import pytest
from optuna.trial import Trial, TrialState
from sqlalchemy import Engine, event

from muster_db import claims, trials
from muster_db.engine import connect
from muster_db.history import End
from muster_db.mirror import Mirror
from muster_db.records import Proposal
from muster_db.samplers import LATE, SAMPLERS
from muster_db.schema import initialise
from muster_db.study import Study
from samples import make_study, take
from searches import tell


def suggest(trial: Trial) -> float:
    rate = trial.suggest_float("rate", 1e-4, 1e-2, log=True)
    if trial.suggest_categorical("kind", ["gru", "cnn"]) == "gru":
        return rate * trial.suggest_int("gru.layers", 1, 4)
    return rate + trial.suggest_float("cnn.dropout", 0.0, 0.6)


def search(engine: Engine, study: Study, *, ordinal: int = 0) -> list[str]:
    """Run a study to its end with one worker; the configurations in order."""
    mirror = Mirror(engine, study)
    seen = []
    while isinstance(
        claim := claims.claim(
            engine,
            study,
            worker_id=1,
            lease_seconds=60,
            propose=lambda: mirror.propose(suggest, worker_ordinal=ordinal),
        ),
        claims.Claim,
    ):
        value = -abs(claim.params["rate"] - 0.003)
        trials.tell(engine, claim, state=TrialState.COMPLETE, value=value, attributes={}, blobs={})
        seen.append(repr(claim.params))
    return seen


@pytest.mark.mariadb
def test_one_worker_draws_the_same_configurations_on_both_servers(
    sqlite_url: str, mariadb_url: str
) -> None:
    found = []
    for url in (sqlite_url, mariadb_url):
        engine = connect(url)
        initialise(engine)
        found.append(search(engine, make_study(engine, budget=16)))
        engine.dispose()
    assert found[0] == found[1]
    assert len(set(found[0])) == 16


def test_two_workers_draw_differently(engine: Engine) -> None:
    mirror = Mirror(engine, make_study(engine))
    drawn = [mirror.propose(suggest, worker_ordinal=ordinal).params for ordinal in (0, 1)]
    assert drawn[0] != drawn[1]
    assert mirror.propose(suggest, worker_ordinal=0).params == drawn[0]


def test_a_refresh_brings_only_what_changed(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = make_study(engine, budget=6)
    mirror = Mirror(engine, study)
    claims = [take(engine, study, worker_id=n) for n in range(4)]
    mirror.refresh()
    assert [trial.state for trial in mirror.trials] == [TrialState.RUNNING] * 4
    trials.report(engine, claims[2], [(0, 0.25), (1, 0.5)])
    trials.tell(engine, claims[2], state=TrialState.COMPLETE, value=0.5, attributes={}, blobs={})
    trials.release(engine, claims[0])
    put: list[int] = []
    history = mirror._history
    keep = history.put
    monkeypatch.setattr(history, "put", lambda row: (put.append(row.number), keep(row)))
    mirror.refresh()
    after = mirror.trials
    assert after[2].value == 0.5
    assert after[2].params == claims[2].params
    assert put == [0, 2]
    statements: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *facts: statements.append(facts[2]))
    mirror.refresh()
    assert len([text for text in statements if text.startswith("SELECT muster_trials")]) == 1
    assert not any("trial_params" in text for text in statements)


@pytest.mark.parametrize("sampler", list(SAMPLERS))
def test_no_configuration_comes_twice_while_another_is_left(engine: Engine, sampler: str) -> None:
    study = make_study(engine, budget=8, sampler=sampler)
    mirror = Mirror(engine, study)

    def small(trial: Trial) -> None:
        trial.suggest_categorical("kind", ["a", "b", "c"])
        trial.suggest_categorical("is_wide", [False, True])

    seen = [
        repr(take(engine, study, propose=lambda: mirror.propose(small, worker_ordinal=0)).params)
        for _ in range(8)
    ]
    assert len(set(seen[:6])) == 6
    assert len(seen) == 8


@pytest.mark.parametrize(
    ("sampler", "state"),
    [*((name, TrialState.COMPLETE) for name in LATE), ("tpe", TrialState.PRUNED)],
)
def test_draw_knows_an_end_here_as_if_the_database_had_told_of_it(
    lite: Engine, sampler: str, state: TrialState
) -> None:
    study = make_study(lite, budget=20, sampler=sampler)
    mirror = Mirror(lite, study)

    def propose() -> Proposal:
        return mirror.propose(suggest, worker_ordinal=0)

    def end(claim: claims.Claim, value: float) -> End:
        reports = [(0, 1.0), (3, value)]
        told = value if state == TrialState.COMPLETE else None
        tell(lite, claim, told, state=state, reports=reports)
        return End(state, told, reports[-1])

    for number in range(12):
        end(take(lite, study, propose=propose), number / 7)
    ended = take(lite, study, propose=propose)
    ahead = take(lite, study, propose=propose, ahead=True)

    def redraw() -> Proposal | None:
        return mirror.redraw(suggest, worker_ordinal=0, number=ahead.number, params=ahead.params)

    unaware = redraw()
    how = end(ended, 9.0)
    mirror.end(ended.number, how)
    aware = redraw()
    assert aware != unaware
    mirror.end(ended.number, None)
    assert redraw() == unaware
    mirror.end(ended.number, how)
    mirror.refresh()
    assert not mirror._ended
    assert redraw() == aware


def test_trials_claimed_ahead_keep_nobody_away_until_they_begin(lite: Engine) -> None:
    study = make_study(lite, budget=30)
    mirror = Mirror(lite, study)
    propose = partial(mirror.propose, suggest, worker_ordinal=0)
    for number in range(12):
        tell(lite, take(lite, study, propose=propose), number / 7)
    ours = take(lite, study, propose=propose, ahead=True)

    def redraw() -> Proposal | None:
        mirror.refresh()
        return mirror.redraw(suggest, worker_ordinal=0, number=ours.number, params=ours.params)

    before = redraw()
    others = [take(lite, study, worker_id=2, propose=propose, ahead=True) for _ in range(8)]
    assert redraw() == before
    for other in others:
        trials.begin(lite, other)
    assert redraw() != before


def test_finite_space_is_tried_whole_though_all_is_drawn_anew(lite: Engine) -> None:
    study = make_study(lite, budget=16)
    mirrors = [Mirror(lite, study) for _ in range(2)]

    def small(trial: Trial) -> None:
        trial.suggest_categorical("kind", ["a", "b", "c", "d"])
        trial.suggest_int("layers", 1, 4)

    seen = []
    for number in range(8):
        held = [
            take(
                lite,
                study,
                worker_id=worker,
                propose=partial(mirror.propose, small, worker_ordinal=worker),
                ahead=True,
            )
            for worker, mirror in enumerate(mirrors)
        ]
        for worker, (claim, mirror) in enumerate(zip(held, mirrors, strict=True)):
            mirror.refresh()
            redrawn = mirror.redraw(
                small, worker_ordinal=worker, number=claim.number, params=claim.params
            )
            trials.begin(lite, claim, redrawn=redrawn)
            params = claim.params if redrawn is None else redrawn.params
            seen.append(tuple(params.values()))
            tell(lite, claim, -abs(params["layers"] - 2.2) - number)
    assert len(set(seen)) == 16


@dataclass(frozen=True)
class Epoch:
    fold: int = 0
    epoch: int = 5
    score: float = 0.5
    fold_ended: bool = False
    fold_scores: tuple[float, ...] = ()


def test_pruning_waits_neither_for_a_draw_nor_does_news(lite: Engine) -> None:
    mirror = Mirror(lite, make_study(lite))
    is_drawing, go_on = Event(), Event()

    def slow(trial: Any) -> None:
        is_drawing.set()
        assert go_on.wait(20)
        suggest(trial)

    with ThreadPoolExecutor(1) as pool:
        drawn = pool.submit(mirror.propose, slow, worker_ordinal=0)
        try:
            assert is_drawing.wait(20)
            mirror.refresh()
            assert not mirror.is_hopeless(0, Epoch())
            assert not drawn.done()
        finally:
            go_on.set()
        assert "rate" in drawn.result(20).params
