"""A worker that reaches its database through a proxy alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from threading import Event

from sqlalchemy import Engine

from muster.settings import Settings
from muster_db import trials
from muster_db.progress import StudyProgress, progress
from muster_db.proxy.client import Remote
from muster_db.proxy.server import Door, serving
from muster_db.study import Study
from muster_worker.loop import work
from muster_worker.machine import Machine

MakeStudy = Callable[..., Study]


def test_worker_ends_the_budget_exactly(
    engine: Engine, make_study: MakeStudy, settings: Settings, machine: Machine
) -> None:
    study = make_study(budget=3)
    url = engine.url.render_as_string(hide_password=False)
    with serving(url, Door("127.0.0.1", 0), connections=2) as port:
        remote = Remote(f"grpc://127.0.0.1:{port}")
        ended = work(remote, study_name="study", machine=machine, settings=settings, stop=Event())
        remote.dispose()
    assert ended.counts == Counter(complete=3)
    assert progress(engine, study) == StudyProgress(3, 3, 0, 0, "open")
    assert {"oof", "test", "curves", "fold0", "fold1"} <= trials.blob_names(engine, 1).keys()
