from __future__ import annotations

import json
import os
import sys

from muster_worker.children import start_child


def test_a_child_gets_the_url_in_its_environment_and_no_second_place() -> None:
    reader, writer = os.pipe()
    show = f"import json, os; os.write({writer}, json.dumps(dict(os.environ)).encode())"
    inherited = {"MUSTER_JOIN": "token", "MUSTER_DB_URL": "sqlite:///other.db", "KEPT": "yes"}
    child = start_child(
        [sys.executable, "-c", show],
        url="sqlite:///this.db",
        threads=2,
        environment=inherited,
        pipes=[writer],
    )
    os.close(writer)
    with os.fdopen(reader) as pipe:
        seen = json.load(pipe)
    assert child.wait() == 0
    assert "MUSTER_JOIN" not in seen
    wanted = {"MUSTER_DB_URL": "sqlite:///this.db", "OMP_NUM_THREADS": "2", "KEPT": "yes"}
    assert wanted.items() <= seen.items()
