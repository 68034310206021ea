"""A database that refuses, is away or has other tables: one message, and never the password."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from benchmarks.servers import Server, free_port

from commands import RUN, done, finish, messages, muster, start, write_example

SECRET = "swordfish-7"
FORBIDDEN = (SECRET, "Traceback")


@pytest.mark.mariadb
def test_no_message_holds_the_password_whatever_is_wrong_with_the_url(
    mariadb: Server, tmp_path: Path
) -> None:
    here = f"127.0.0.1:{mariadb.port}"
    wrong_password = f"mysql+pymysql://user:{SECRET}@{here}/muster"
    wrong = {
        wrong_password: (2, "password is wrong"),
        f"mysql+pymysql://user:{SECRET}@nowhere.invalid/muster": (3, "does not answer"),
        f"mysql+pymysql://user:{SECRET}@127.0.0.1:{free_port()}/muster": (3, "does not answer"),
        f"mysql://user:{SECRET}@{here}/muster": (2, "mysql+pymysql://"),
        f"user:{SECRET}@{here}": (2, "cannot be read"),
    }
    write_example(tmp_path)
    started = {url: start("status", folder=tmp_path, MUSTER_DB_URL=url) for url in wrong}
    started["run"] = start(*RUN, "--db", wrong_password, folder=tmp_path)
    wrong["run"] = (2, "password is wrong")
    ended = {url: finish(process) for url, process in started.items()}
    for url, (code, message) in wrong.items():
        said = ended[url].stderr
        assert ended[url].returncode == code, said
        assert message in said
        assert len(messages(ended[url])) == 1
        assert [text for text in FORBIDDEN if text in said + ended[url].stdout] == []
    assert not (tmp_path / "out").exists()


@pytest.mark.mariadb
def test_password_comes_from_a_file_and_missing_tables_are_named(
    mariadb_url: str, tmp_path: Path
) -> None:
    address, _, place = mariadb_url.rpartition("@")
    user, _, password = address.rpartition(":")
    (tmp_path / "password").write_text(password + "\n")
    settings = {
        "MUSTER_DB_URL": f"{user}@{place}",
        "MUSTER_DB_PASSWORD_FILE": str(tmp_path / "password"),
    }
    refused = muster("status", folder=tmp_path, **settings)
    assert refused.returncode == 2
    assert "muster's tables are missing; run `muster db init`" in refused.stderr
    assert password not in refused.stderr
    assert "tables are ready" in done("db", "init", folder=tmp_path, **settings)
    done("status", folder=tmp_path, **settings)


def test_tables_of_another_version_are_refused(tmp_path: Path) -> None:
    db = ("--db", "sqlite:///muster.db")
    done("db", "init", *db, folder=tmp_path)
    connection = sqlite3.connect(tmp_path / "muster.db")
    connection.execute("UPDATE muster_alembic_version SET version_num = 'm9999'")
    connection.commit()
    connection.close()
    refused = muster("status", *db, folder=tmp_path)
    assert refused.returncode == 2
    for text in ("muster.db", "m9999", "newer", "install"):
        assert text in refused.stderr
    assert refused.stderr.count("\n") == 1
