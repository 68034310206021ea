from __future__ import annotations

from collections.abc import Callable, Iterator
from threading import Event

import pytest
from optuna.trial import TrialState
from sqlalchemy import Engine

from commands import wait_until
from muster.settings import Settings
from muster.space import parse_space
from muster_db import samplers, trials
from muster_db.claims import Claim
from muster_db.mirror import Mirror
from muster_db.study import Study
from muster_worker.courier import Courier
from muster_worker.machine import Machine
from muster_worker.outbox import Ending
from muster_worker.room import Ready
from muster_worker.run import Context
from searches import tell

# TPE draws at random before.
EARLIER = 10


@pytest.fixture
def study(
    make_study: Callable[..., Study],
    context: Callable[[Study], Context],
    claim: Callable[..., Claim],
    engine: Engine,
) -> Study:
    """A study whose sampler has something to go by."""
    made = make_study(budget=EARLIER + 9)
    shared = context(made)
    for number in range(EARLIER):
        tell(engine, claim(shared), number / 10)
    return made


@pytest.fixture
def others(
    study: Study, context: Callable[[Study], Context], claim: Callable[..., Claim]
) -> Claim:
    """A trial that another worker trains."""
    return claim(context(study), worker_id=99)


@pytest.fixture
def courier(engine: Engine, machine: Machine, settings: Settings) -> Iterator[Courier]:
    """At work until the test's end."""
    stop = Event()
    with Courier(
        engine, study_name="study", machine=machine, settings=settings, stop=stop
    ) as courier:
        yield courier
        stop.set()


def taken(courier: Courier) -> tuple[Ready, Callable[[Ending], None]]:
    """The next trial to train, and what tells its ending."""
    found = courier.next()
    assert found is not None
    ready, outbox = found
    return ready, lambda ending: courier.end(outbox, ending)


def ahead(courier: Courier) -> Ready:
    """What is claimed ahead, once it is."""
    wait_until(lambda: courier._ahead.ready is not None)
    ready = courier._ahead.ready
    assert ready is not None
    return ready


def drawn(engine: Engine, study: Study, claimed: Ready) -> dict[str, object] | None:
    """What the database's news make of a trial by now, if another one than it is."""
    mirror = Mirror(engine, study)
    mirror.refresh()
    proposal = mirror.redraw(
        parse_space(study.contract.space, place="here").suggest,
        worker_ordinal=0,
        number=claimed.claim.number,
        params=claimed.claim.params,
    )
    return None if proposal is None else proposal.params


def test_trial_claimed_ahead_knows_the_one_that_has_just_ended_here(
    engine: Engine, study: Study, courier: Courier
) -> None:
    first, end = taken(courier)
    claimed = ahead(courier)
    unaware = drawn(engine, study, claimed)
    end(Ending("complete", value=5.0))
    second, _ = taken(courier)
    assert second.claim.number == claimed.claim.number
    wait_until(lambda: _state(engine, study, first) == TrialState.COMPLETE)
    # As if the database had told of the end before the draw.
    assert drawn(engine, study, second) is None
    assert second.claim.params not in (unaware, claimed.claim.params)
    wait_until(lambda: _params(engine, study, second) == second.claim.params)


def test_trial_claimed_ahead_knows_those_that_ended_elsewhere(
    engine: Engine, study: Study, others: Claim, courier: Courier
) -> None:
    taken(courier)
    claimed = ahead(courier)
    tell(engine, others, 5.0)
    known = claimed.desk.context.mirror
    wait_until(lambda: known.finished == EARLIER + 1)
    second, _ = taken(courier)
    assert drawn(engine, study, second) is None
    assert second.claim.params != claimed.claim.params


def test_what_takes_long_to_draw_is_drawn_anew_in_the_background(
    engine: Engine, others: Claim, courier: Courier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(samplers.LATE, "tpe", 0)
    _, end = taken(courier)
    claimed = ahead(courier)
    tell(engine, others, 5.0)
    wait_until(lambda: courier._ahead.ready is not claimed)
    redrawn = ahead(courier)
    assert redrawn.claim.params != claimed.claim.params
    end(Ending("complete", value=5.0))
    second, _ = taken(courier)
    assert second is redrawn


def test_trial_that_was_lost_does_not_count_as_ended(
    engine: Engine, study: Study, courier: Courier
) -> None:
    first, end = taken(courier)
    mirror = first.desk.context.mirror
    # Somebody else ends it with another value.
    trials.release(engine, first.claim)
    end(Ending("complete", value=5.0))
    wait_until(lambda: courier.counts["lost"] == 1)
    mirror.refresh()
    assert mirror._look().states[first.claim.number] != TrialState.COMPLETE


def _state(engine: Engine, study: Study, ready: Ready) -> TrialState:
    mirror = Mirror(engine, study)
    mirror.refresh()
    return mirror.trials[ready.claim.number].state


def _params(engine: Engine, study: Study, ready: Ready) -> dict[str, object]:
    mirror = Mirror(engine, study)
    mirror.refresh()
    return mirror.trials[ready.claim.number].params
