"""Refits are trials of a study of their own: claimed, resumed and told like all others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from threading import Event

import pytest
from sqlalchemy import Engine

from attempts import attempt
from muster.errors import UserError
from muster.settings import Settings
from muster_db import blobs, trials
from muster_db.claims import Claim
from muster_db.contract import Refit
from muster_db.progress import progress
from muster_db.refits import Job, open_refits
from muster_db.study import Study, list_studies, stop_study
from muster_ensemble.export import load_candidates
from muster_ensemble.ledger import load_ledger, load_trials, load_truth
from muster_ensemble.live import look
from muster_ensemble.refit import epochs_of, jobs_of, refitted
from muster_ensemble.select import Candidate
from muster_worker.loop import work
from muster_worker.machine import Machine
from muster_worker.run import Context

Make = Callable[..., Study]
Hold = Callable[[Study], Context]
Take = Callable[..., Claim]


@pytest.fixture
def searched(engine: Engine, make_study: Make, settings: Settings, machine: Machine) -> Study:
    study = make_study(budget=2, pruner="none")
    work(engine, study_name="study", machine=machine, settings=settings, stop=Event())
    return study


@pytest.fixture
def members(engine: Engine, searched: Study) -> list[Candidate]:
    found = load_candidates(engine, searched, {0, 1}, trials=load_trials(engine, searched))
    return [found[1], found[0]]


def test_workers_that_serve_all_studies_train_the_refits(
    engine: Engine,
    searched: Study,
    members: list[Candidate],
    settings: Settings,
    machine: Machine,
) -> None:
    refits = open_refits(engine, searched, jobs_of(members))
    assert open_refits(engine, searched, jobs_of(members)) == refits
    assert refits.priority > searched.priority
    settings = settings.model_copy(update={"keep_weights": 1})
    work(engine, study_name=None, machine=machine, settings=settings, stop=Event())
    assert progress(engine, refits).is_finished
    assert look(engine, refits, rule="soft", cache=settings.cache_dir) is None
    with pytest.raises(UserError, match=r"run `muster ensemble study --refit`"):
        load_ledger(engine, refits, load_truth(engine, refits, cache=settings.cache_dir))
    again = refitted(engine, refits, members)
    assert [each.number for each in again] == [1, 0]
    assert [list(each.weights) for each in again] == [["fold0"], ["fold0"]]
    told = load_trials(engine, refits)
    assert [trial.params for trial in told] == [member.params for member in members]
    assert [trial.value for trial in told] == [member.value for member in members]
    for member, other in zip(members, again, strict=True):
        assert (other.oof == member.oof)[~(member.oof != member.oof)].all()
        assert (other.test != member.test).any()


def test_a_refit_that_was_stopped_goes_on_and_ends_the_same(
    engine: Engine,
    searched: Study,
    members: list[Candidate],
    context: Hold,
    claim: Take,
) -> None:
    jobs = jobs_of(members)
    undisturbed = open_refits(engine, searched, jobs[:1])
    held = context(undisturbed)
    taken = claim(held)
    assert attempt(engine, held, taken, stop=Event()) == "complete"
    other = context(open_refits(engine, searched, jobs))
    first = claim(other)
    stop = Event()
    stop.set()
    assert attempt(engine, other, first, stop=stop) == "released"
    second = claim(other)
    assert (second.number, second.attempt) == (0, 2)
    assert attempt(engine, other, second, stop=Event()) == "complete"
    names = [trials.blob_names(engine, each.trial_id)["fold0"] for each in (taken, second)]
    assert names[0] == names[1]
    assert blobs.get(engine, names[0])


def test_a_refit_that_fails_is_named(
    engine: Engine, searched: Study, members: list[Candidate], context: Hold, claim: Take
) -> None:
    refits = open_refits(engine, searched, jobs_of(members))
    held = context(refits)
    for worker_id in range(refits.max_attempts):
        trials.fail_attempt(engine, claim(held, worker_id=worker_id), "Traceback: broken")
    assert attempt(engine, held, claim(held), stop=Event()) == "complete"
    with pytest.raises(UserError, match=r"cannot be trained again: trial 1 \(fail\)"):
        refitted(engine, refits, members)


def test_long_names_leave_room_for_what_tells_refits_apart(
    engine: Engine, make_study: Make
) -> None:
    study = make_study(name="s" * 255)
    one, other = (
        open_refits(engine, study, [Job(Refit(trial=0, value=0.5, epochs=epochs), {})])
        for epochs in (1, 2)
    )
    assert len({study.name, one.name, other.name}) == 3
    assert len(list_studies(engine)) == 3
    stop_study(engine, one)


def test_epochs_are_the_median_of_what_the_folds_kept(members: list[Candidate]) -> None:
    ended = [
        {"fold": fold, "epoch": 9, "fold_ended": True, "kept": kept}
        for fold, kept in enumerate((3, 8, 4))
    ]
    member = replace(members[0], curves=[{**ended[0], "fold_ended": False, "kept": 1}, *ended])
    assert epochs_of(member) == 4
    # A trial of before that was noted, which early stopping ended.
    config = member.config.model_copy(update={"patience": 3, "epochs": 20})
    old = [{key: each[key] for key in ("fold", "epoch", "fold_ended")} for each in ended]
    assert epochs_of(replace(member, curves=old, config=config)) == 7
    with pytest.raises(UserError, match="no fold has ended"):
        epochs_of(replace(member, curves=[]))
