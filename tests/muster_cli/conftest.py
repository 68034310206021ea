"""One finished search that the tests here look at."""

from __future__ import annotations

import pytest

from commands import RUN, Finished, muster, write_example


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """RUN, ended; tests only read what it left."""
    folder = tmp_path_factory.mktemp("finished")
    write_example(folder)
    ended = muster(*RUN, folder=folder)
    assert ended.returncode == 0, ended.stderr
    return Finished(folder, ended)
