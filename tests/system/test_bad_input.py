from __future__ import annotations

import pytest

from commands import RUN, finish, start, write_example
from servers import Server, free_port

SECRET = "swordfish-7"
FORBIDDEN = (SECRET, "Traceback")


@pytest.mark.mariadb
def test_no_message_holds_the_password_whatever_is_wrong_with_the_url(
    mariadb: Server, tmp_path_factory: pytest.TempPathFactory
) -> None:
    here = f"127.0.0.1:{mariadb.port}"
    wrong = {
        f"mysql+pymysql://user:{SECRET}@{here}/muster": (2, "password is wrong"),
        f"mysql+pymysql://user:{SECRET}@nowhere.invalid/muster": (3, "does not answer"),
        f"mysql+pymysql://user:{SECRET}@127.0.0.1:{free_port()}/muster": (3, "does not answer"),
        f"mysql://user:{SECRET}@{here}/muster": (2, "mysql+pymysql://"),
        f"user:{SECRET}@{here}": (2, "cannot be read"),
    }
    folder = tmp_path_factory.mktemp("passwords")
    write_example(folder)
    started = {url: start("status", folder=folder, MUSTER_DB_URL=url) for url in wrong}
    started["run"] = start(*RUN, "--db", next(iter(wrong)), folder=folder)
    wrong["run"] = (2, "password is wrong")
    for url, process in started.items():
        ended = finish(process)
        code, message = wrong[url]
        assert ended.returncode == code, ended.stderr
        assert message in ended.stderr
        assert [text for text in FORBIDDEN if text in ended.stderr + ended.stdout] == []
    assert not (folder / "out").exists()
