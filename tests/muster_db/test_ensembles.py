from __future__ import annotations

from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from optuna_dashboard._note import get_note, note_ver_key, save_note
from sqlalchemy import Engine, func, select, update

from muster.errors import UserError
from muster_db import notes
from muster_db.clock import clock
from muster_db.ensembles import (
    EnsembleMember,
    Snapshot,
    current,
    end_turn,
    hold_turn,
    record,
    revision,
    take_turn,
)
from muster_db.study import Study, delete_study, stop_study
from muster_db.summary import summarise
from muster_db.tables import ensembles
from muster_db.trials import tell
from samples import make_contract, make_study, proposer, take

SNAPSHOT = Snapshot(
    trials=3,
    rule="soft",
    asked="auto",
    metric="macro_f1",
    members=(
        EnsembleMember(number=2, architecture="gru", weight=0.75),
        EnsembleMember(number=0, architecture="cnn", weight=0.25),
    ),
    nested=0.81,
    low=0.74,
    high=0.87,
    naive=0.86,
    single=2,
    single_nested=0.79,
    single_naive=0.83,
    p_value=0.25,
)
PROPOSE = proposer()


def snapshot(**changes: Any) -> Snapshot:
    return SNAPSHOT.model_copy(update=changes)


def tell_one(engine: Engine, study: Study) -> None:
    held = take(engine, study, propose=PROPOSE)
    tell(engine, held, state=TrialState.COMPLETE, value=0.5, attributes={}, blobs={})


def bring_the_turn(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(update(ensembles).values(held_until=clock(-1)))


def note_version(study: optuna.Study) -> int:
    version: int = study._storage.get_study_system_attrs(study._study_id)[note_ver_key(None)]
    return version


def judged(engine: Engine) -> tuple[float | None, int | None, int | None]:
    columns = ensembles.c.best, ensembles.c.best_revision, ensembles.c.judged
    with engine.connect() as connection:
        best, at, seen = connection.execute(select(*columns)).one()
    return best, at, seen


def in_optuna(engine: Engine, study: Study) -> optuna.Study:
    url = engine.url.render_as_string(hide_password=False)
    return optuna.load_study(study_name=study.name, storage=url)


def test_what_is_recorded_is_current_until_the_next_and_dated_by_the_database(
    engine: Engine,
) -> None:
    study = make_study(engine)
    assert current(engine, study) is None
    assert summarise(engine, study).ensemble is None
    record(engine, study, SNAPSHOT, revision=3)
    found = current(engine, study)
    assert found is not None
    assert found.at is not None
    assert found.model_copy(update={"at": None}) == SNAPSHOT
    record(engine, study, snapshot(nested=0.9), revision=3)
    assert summarise(engine, study).as_plain()["ensemble"]["nested"] == 0.9


def test_an_estimate_of_earlier_trials_that_comes_late_changes_nothing(lite: Engine) -> None:
    study = make_study(lite)
    record(lite, study, snapshot(nested=0.8), revision=9, is_judged=True)
    record(lite, study, snapshot(nested=0.9), revision=8, is_judged=True)
    found = current(lite, study)
    assert found is not None
    assert found.nested == 0.8
    assert judged(lite) == (0.8, 9, 9)


def test_patience_goes_by_the_best_of_the_estimates_that_it_is_told_of(lite: Engine) -> None:
    study = make_study(lite, direction="minimize", metric="log_loss")
    for number, (value, counts) in enumerate([(0.5, True), (0.3, True), (0.4, True), (0, False)]):
        record(lite, study, snapshot(nested=value), revision=number, is_judged=counts)
    assert judged(lite) == (0.3, 1, 2)


def test_a_turn_comes_with_news_to_one_process_at_a_time(engine: Engine) -> None:
    study = make_study(engine)
    assert take_turn(engine, hold_seconds=60) is None
    tell_one(engine, study)
    assert take_turn(engine, hold_seconds=60) == "study"
    assert take_turn(engine, hold_seconds=60) is None
    seen = revision(engine, study)
    record(engine, study, SNAPSHOT, revision=seen)
    end_turn(engine, study, rest_seconds=0)
    assert take_turn(engine, hold_seconds=60) is None, "nothing was told since"
    tell_one(engine, study)
    assert take_turn(engine, hold_seconds=60) == "study"
    end_turn(engine, study, rest_seconds=60)
    assert take_turn(engine, hold_seconds=60) is None
    assert take_turn(engine, hold_seconds=60, is_last=True) == "study"
    assert take_turn(engine, hold_seconds=60, is_last=True) is None


def test_a_turn_whose_process_died_comes_to_another_one(lite: Engine) -> None:
    study = make_study(lite)
    tell_one(lite, study)
    take_turn(lite, hold_seconds=60)
    bring_the_turn(lite)
    hold_turn(lite, study, hold_seconds=60)
    assert take_turn(lite, hold_seconds=60) is None, "it lives"
    bring_the_turn(lite)
    assert take_turn(lite, hold_seconds=60) == "study"


def test_a_turn_is_of_the_study_that_was_named_and_of_none_that_is_stopped(lite: Engine) -> None:
    for name in ("first", "second"):
        study = make_study(lite, name=name)
        tell_one(lite, study)
    assert take_turn(lite, hold_seconds=60, study_name="second") == "second"
    assert take_turn(lite, hold_seconds=60, study_name="second") is None
    bring_the_turn(lite)
    stop_study(lite, study)
    assert take_turn(lite, hold_seconds=60, study_name="second") is None
    assert take_turn(lite, hold_seconds=60) == "first"


def test_a_study_takes_its_ensemble_with_it(engine: Engine) -> None:
    study = make_study(engine)
    record(engine, study, SNAPSHOT, revision=1)
    delete_study(engine, study)
    with pytest.raises(UserError, match="has been deleted"):
        record(engine, study, SNAPSHOT, revision=1)
    study = make_study(engine)
    record(engine, study, SNAPSHOT, revision=1)
    optuna.delete_study(study_name="study", storage=in_optuna(engine, study)._storage)
    with engine.connect() as connection:
        assert connection.execute(select(func.count()).select_from(ensembles)).scalar() == 0


def test_the_dashboard_reads_contract_and_ensemble_in_the_note(engine: Engine) -> None:
    study = make_study(engine, dataset_name="näme " + 300 * "long ")
    shown = in_optuna(engine, study)
    assert "macro_f1, maximized over 2 folds" in get_note(shown)
    assert "None yet" in get_note(shown)
    save_note(shown, f"Ours: **do** look.\n\n{get_note(shown)}\nAnd this.")
    record(engine, study, SNAPSHOT, revision=1)
    note = get_note(shown)
    assert note.startswith("Ours: **do** look.")
    assert note.endswith("And this.")
    assert "None yet" not in note
    assert "**0.8100** by nested cross-validation, 95 % interval 0.7400 to 0.8700" in note
    assert "| 2 | gru | 0.75 |" in note
    version = note_version(shown)
    with engine.begin() as connection:
        text = note[note.index("### Current") : note.index(notes.END)]
        notes.write(connection, study.study_id, study.contract, text)
    assert note_version(shown) == version, "the same text is no new version"


def test_a_note_that_grows_shorter_leaves_no_piece_of_the_longer_one(lite: Engine) -> None:
    study = make_study(lite)
    for text in ("long " * 1000, "short"):
        with lite.begin() as connection:
            notes.write(connection, study.study_id, study.contract, text)
    assert get_note(in_optuna(lite, study)).endswith(f"short\n\n{notes.END}\n")


def test_a_note_without_our_part_gets_it_at_its_end() -> None:
    assert notes.put_in("Mine", "x") == f"Mine\n\n{notes.BEGIN}\n\nx\n\n{notes.END}\n"
    assert "sampler tpe" in notes.contract_in_words(make_contract())


def test_a_datasets_name_has_no_meaning_in_the_note() -> None:
    evil = f"<img src=x>\n# a_b* [x](y) {notes.END}"
    said = notes.contract_in_words(make_contract(dataset_name=evil))
    assert notes.END not in said
    assert r"\<img src=x\> \# a\_b\* \[x\](y) \[//\]: \# (end of muster), 2 classes" in said
