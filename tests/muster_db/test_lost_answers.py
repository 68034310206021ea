"""A verb whose commit took effect, but whose answer was lost, happens once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pymysql
import pytest
from sqlalchemy import Connection, Engine, event, select
from sqlalchemy.exc import OperationalError

from muster.errors import LeaseLost, Unavailable
from muster_db import schema, tables, trials
from muster_db.budget import extend_budget
from muster_db.claims import Claim
from muster_db.engine import connect
from muster_db.progress import progress
from muster_db.records import read_reports, read_values
from muster_db.study import Study, delete_study, list_studies
from muster_db.workers import leave, list_workers, register
from samples import make_study, run_out, take
from searches import tell

Verb = Callable[[Engine, Study, Claim], object]


def claim_left(engine: Engine, study: Study, held: Claim) -> Claim:
    trials.release(engine, held)
    return take(engine, study, worker_id=2)


VERBS: dict[str, Verb] = {
    "create_study": lambda engine, study, held: make_study(engine, name=f"{study.name} twin"),
    "delete_study": lambda engine, study, held: delete_study(engine, study),
    "extend_budget": lambda engine, study, held: extend_budget(engine, study, trials=5),
    "begin": lambda engine, study, held: trials.begin(engine, take(engine, study, ahead=True)),
    "register": lambda engine, study, held: register(engine, study, host="h", device="cpu"),
    "leave": lambda engine, study, held: leave(engine, list_workers(engine, study)[0].worker),
    "claim of a slot": lambda engine, study, held: take(engine, study, worker_id=2),
    "claim of what was left": claim_left,
    "extend": lambda engine, study, held: trials.extend(engine, held),
    "report": lambda engine, study, held: trials.report(engine, held, [(0, 0.5)]),
    "release": lambda engine, study, held: trials.release(engine, held),
    "fail_attempt": lambda engine, study, held: trials.fail_attempt(engine, held, "error"),
    "tell": lambda engine, study, held: tell(engine, held, 0.5, attributes={"a": 1}),
    "reap": lambda engine, study, held: [run_out(engine, held), trials.reap(engine, study)],
}
# A worker calls these again until the database has taken them.
ENDS = ("release", "fail_attempt", "tell")


@contextmanager
def lost_answers(engine: Engine) -> Iterator[None]:
    """Within it each transaction's first commit takes effect, and its answer is lost."""
    is_first = True

    def commit(connection: Connection) -> None:
        nonlocal is_first
        if connection.get_execution_options().get("muster_read_only") is not False:
            return
        is_first = not is_first
        if not is_first:
            connection.connection.commit()
            raise OperationalError("COMMIT", None, pymysql.err.OperationalError(2013, "lost"))

    event.listen(engine, "commit", commit)
    yield
    event.remove(engine, "commit", commit)


def prepared(engine: Engine, name: str) -> tuple[Study, Claim]:
    """A study with a worker, a trial that it holds, and attempts enough for one failure."""
    study = make_study(engine, name=name, max_attempts=2)
    worker = register(engine, study, host="h", device="cpu")
    return study, take(engine, study, worker_id=worker.worker_id)


def facts(engine: Engine, name: str) -> object:
    """What a study of that name, and others whose names begin so, have come to."""
    found: list[object] = []
    for study in list_studies(engine):
        if not study.name.startswith(name):
            continue
        joined = [
            (each.worker.ordinal, each.failed, each.left_at is None)
            for each in list_workers(engine, study)
        ]
        with engine.connect() as connection:
            rows = trial_facts(connection, study)
        found.append((study.name[len(name) :], progress(engine, study), rows, joined))
    return found


def trial_facts(connection: Connection, study: Study) -> list[object]:
    ours, theirs, noted = tables.trials, tables.optuna_trials, tables.optuna_attributes
    query = (
        select(ours, theirs.c.state.label("shown"))
        .join_from(ours, theirs, ours.c.trial_id == theirs.c.trial_id)
        .where(ours.c.study_id == study.study_id)
        .order_by(ours.c.number)
    )
    rows = connection.execute(query).all()
    ids = [row.trial_id for row in rows]
    values, reports = (read(connection, ids) for read in (read_values, read_reports))
    return [
        (
            *(row.number, row.state, row.attempt, row.failures, row.shown),
            values.get(row.trial_id),
            reports[row.trial_id],
            connection.execute(
                select(noted.c.key, noted.c.value_json).where(noted.c.trial_id == row.trial_id)
            ).all(),
        )
        for row in rows
    ]


def check(engine: Engine, verb: str) -> None:
    plain, lossy = f"plain {verb}", f"lossy {verb}"
    mine, theirs = prepared(engine, plain), prepared(engine, lossy)
    before = facts(engine, lossy)
    first = VERBS[verb](engine, *mine)
    with lost_answers(engine):
        second = VERBS[verb](engine, *theirs)
    assert facts(engine, lossy) == facts(engine, plain)
    assert facts(engine, lossy) != before or verb == "extend"
    for name in ("ordinal", "number", "attempt", "budget"):
        assert getattr(second, name, None) == getattr(first, name, None)


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_whose_answer_was_lost_happens_once(lite: Engine, verb: str) -> None:
    check(lite, verb)


@pytest.mark.mariadb
def test_each_verb_whose_answer_a_server_lost_happens_once(mariadb_url: str) -> None:
    engine = connect(mariadb_url)
    schema.initialise(engine)
    for verb in VERBS:
        check(engine, verb)
    engine.dispose()


@pytest.mark.parametrize("verb", ENDS)
def test_a_verb_that_is_called_again_after_its_answer_was_lost_happens_once(
    lite: Engine, verb: str
) -> None:
    mine, theirs = prepared(lite, "plain"), prepared(lite, "lossy")
    VERBS[verb](lite, *mine)
    lite.update_execution_options(muster_patience=0.0)
    with lost_answers(lite), pytest.raises(Unavailable):
        VERBS[verb](lite, *theirs)
    VERBS[verb](lite, *theirs)
    assert facts(lite, "lossy") == facts(lite, "plain")
    for other in {"tell", "fail_attempt"} - {verb}:
        with pytest.raises(LeaseLost):
            VERBS[other](lite, *theirs)
    assert facts(lite, "lossy") == facts(lite, "plain")
