"""Commands that watch a study, while the network to its database is cut."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.proxy import proxy_to
from benchmarks.servers import Server
from sqlalchemy import make_url

from commands import finish, started
from muster_db import schema
from muster_db.engine import connect
from muster_db.study import create_study, stop_study
from samples import make_contract


@pytest.mark.mariadb
def test_who_watches_says_once_that_the_database_is_away_and_goes_on(
    mariadb: Server, mariadb_url: str, tmp_path: Path
) -> None:
    engine = connect(mariadb_url)
    schema.initialise(engine)
    study = create_study(engine, name="s", contract=make_contract(), budget=3)
    with proxy_to(mariadb.port) as proxy:
        url = make_url(mariadb_url).set(port=proxy.port)
        settings = {"MUSTER_DB_URL": url.render_as_string(hide_password=False)}
        with (
            started("ensemble", "s", "--wait", folder=tmp_path, **settings) as waiting,
            started("status", "s", "--watch", folder=tmp_path, **settings) as watching,
        ):
            assert waiting.stderr is not None
            assert watching.stderr is not None
            assert watching.stdout is not None
            assert "0/3 trials done" in waiting.stderr.readline()
            assert watching.stdout.readline().split()[0] == "study"
            proxy.cut()
            for process in (waiting, watching):
                assert process.stderr is not None
                assert "waiting for the database to come back" in process.stderr.readline()
            proxy.restore()
            for process in (waiting, watching):
                assert process.stderr is not None
                assert process.stderr.readline() == "the database is back\n"
            stop_study(engine, study)
            ended = finish(waiting)
            watching.terminate()
    assert ended.returncode == 2
    assert ended.stderr == "muster: study 's' is stopped at 0/3 trials\n"
    engine.dispose()
