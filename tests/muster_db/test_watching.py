from __future__ import annotations

import math

from optuna_dashboard import get_note
from sqlalchemy import Engine

from muster_db import datasets, trials
from muster_db.outline import read_outline
from muster_db.remarks import save
from muster_db.study import Study
from muster_db.tables import optuna_study_facts
from muster_db.watching import SeenTrial, read_facts, read_heads, read_trials
from samples import make_dataset, make_study, take
from searches import load, tell


def seen(engine: Engine, study: Study, *, since: int = 0) -> list[SeenTrial]:
    with engine.begin() as connection:
        return read_trials(connection, study.study_id, since=since)


def test_watchers_read_everything_once_and_then_what_has_changed(engine: Engine) -> None:
    study, other = make_study(engine), make_study(engine, name="other")
    told, held = take(engine, study), take(engine, study)
    take(engine, other)
    trials.report(engine, told, [(0, 0.5), (1, float("nan")), (2, float("inf"))])
    tell(engine, told, 0.25, attributes={"seconds": 1.5})
    first, second = seen(engine, study)
    assert (first.value, first.is_told, first.attributes) == (0.25, True, {"seconds": "1.5"})
    assert first.reports[0] == 0.5
    assert math.isnan(first.reports[1])
    assert first.started is not None
    assert first.ended is not None
    assert (second.number, second.lease, second.reports) == (held.number, "running", {})
    with engine.begin() as connection:
        heads = {head.name: head for head in read_heads(connection)}
    assert (heads["study"].told, heads["study"].claimed, heads["other"].told) == (1, 2, 0)
    trials.report(engine, held, [(0, 0.75)])
    (again,) = seen(engine, study, since=heads["study"].revision)
    assert (again.number, dict(again.reports)) == (held.number, {0: 0.75})
    tell(engine, held, 0.5)
    (ended,) = seen(engine, study, since=heads["study"].revision)
    assert (ended.number, ended.is_told, dict(ended.reports)) == (held.number, True, {0: 0.75})


def test_trials_of_before_digests_are_read_from_optunas_tables(engine: Engine) -> None:
    study = make_study(engine)
    held = take(engine, study)
    trials.report(engine, held, [(0, 0.25), (1, float("inf"))])
    tell(engine, held, 0.5)
    (before,) = seen(engine, study)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE muster_trials SET params = NULL, outcome = NULL")
    (after,) = seen(engine, study)
    assert (before.params, before.value) == (after.params, after.value)
    assert dict(before.reports) == dict(after.reports)


def test_a_note_is_saved_once_a_version_as_optuna_dashboard_reads_it(engine: Engine) -> None:
    study = make_study(engine)
    held = take(engine, study)
    text = "☂ long " * 1000
    with engine.begin() as connection:
        _, facts = read_facts(connection, study.study_id)
    following = int(facts["dashboard:note_ver"]) + 1
    assert save(engine, study, text, version=following)
    assert not save(engine, study, "too late", version=following)
    assert get_note(load(engine, "study")) == text
    assert save(engine, study, "short", version=following + 1)
    assert get_note(load(engine, "study")) == "short"
    assert save(engine, study, "of a trial", version=1, trial_id=held.trial_id)
    with engine.begin() as connection:
        _, facts = read_facts(connection, study.study_id)
        rows = connection.execute(optuna_study_facts.select()).all()
    assert facts[f"dashboard:{held.trial_id}:note_str:0"] == '"of a trial"'
    assert len({(row.study_id, row.key) for row in rows}) == len(rows)


def test_an_outline_is_the_datasets_without_its_sequences(engine: Engine) -> None:
    # Several rows of 512 KiB, which do not compress.
    dataset = make_dataset(sequences=700)
    outline = read_outline(engine, datasets.store(engine, dataset))
    assert outline.lengths.tolist() == dataset.lengths.tolist()
    assert outline.labels.tolist() == dataset.labels.tolist()
    assert (outline.groups, outline.is_test.any()) == (None, False)
