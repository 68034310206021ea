"""One command on a fresh clone. The tests share one stack and run in the order of this file."""

from __future__ import annotations

import csv
import json
import os
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymysql
import pytest
from benchmarks.servers import free_port
from typer.testing import CliRunner

from muster_cli.commands import app
from stack import Stack, clone_tracked_files, has_engine

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]

TRIALS = 24
MORE_TRIALS = 6
WORKERS = 4
TEST_SEQUENCES = 370
VOTED_SECONDS = 420.0
NO_ENGINE = "no Docker engine with compose answers here: start one to test the compose stack"
SCALE = ("--scale", f"worker={WORKERS}")
# Where the database finds the account that makes others.
ADMIN = "/docker-entrypoint-initdb.d"
# Long enough to be revoked in its middle, on any machine.
LONG_SPACE = """[space]
epochs = 100000
batch_size = 128
learning_rate = 1e-3
[space.architecture]
choose = ["gru"]
[space.architecture.gru]
hidden = 8
"""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The stack of a fresh clone, searched and voted; nothing of it is left afterwards."""
    if not has_engine():
        if os.environ.get("CI") == "true":
            pytest.fail(NO_ENGINE)
        pytest.skip(NO_ENGINE)
    folder = tmp_path_factory.mktemp("clone")
    clone_tracked_files(folder)
    started = Stack(folder, database_port=free_port(), dashboard_port=free_port())
    try:
        started.up(*SCALE, "--build")
        started.wait_until_voted(seconds=VOTED_SECONDS)
        yield started
    finally:
        started.remove()


def test_exactly_the_budget_is_told_each_trial_by_one_worker(stack: Stack) -> None:
    states = [state for (state,) in stack.sql("SELECT state FROM trials ORDER BY number")]
    assert len(states) == TRIALS
    assert set(states) <= {"COMPLETE", "PRUNED"}
    leases = stack.sql("SELECT number, state, attempt FROM muster_trials ORDER BY number")
    assert leases == [[str(number), "told", "1"] for number in range(TRIALS)]


def test_all_four_workers_took_part_and_exited_0(stack: Stack) -> None:
    assert [each["State"]["ExitCode"] for each in stack.containers("worker")] == [0] * WORKERS
    told = stack.sql(
        "SELECT host, COUNT(*) FROM muster_trials JOIN muster_workers USING (worker_id)"
        " GROUP BY host"
    )
    assert len(told) == WORKERS
    assert sum(int(count) for _, count in told) == TRIALS


def test_the_ensemble_prints_its_figures(stack: Stack) -> None:
    printed = stack.compose("logs", "--no-color", "--no-log-prefix", "ensemble")
    for line in ("random guess", "best single", "majority vote"):
        assert line in printed.lower()


def test_the_predictions_are_there(stack: Stack, tmp_path: Path) -> None:
    results = copy_results(stack, tmp_path)
    with (results / "predictions.csv").open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert len(rows) == TEST_SEQUENCES
    summary = json.loads((results / "summary.json").read_text(encoding="utf-8"))
    assert summary["trials"] == TRIALS
    assert summary["ensemble"]["test_macro_f1"] >= 0.95


def test_the_dashboard_shows_the_study_to_who_has_the_link_in_its_log(stack: Stack) -> None:
    studies = ask(stack, "/api/studies")["study_summaries"]
    assert [each["study_name"] for each in studies] == ["quickstart"]
    assert ask(stack, "/muster/api/search")["told"] == TRIALS
    address = f"http://127.0.0.1:{stack.dashboard_port}"
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"{address}/api/studies", timeout=30)
    with urllib.request.urlopen(f"{address}/healthz", timeout=30) as health:
        assert json.load(health) == {"status": "ok"}


def test_ports_are_open_on_this_machine_alone(stack: Stack) -> None:
    bound = {
        (port, binding["HostIp"], binding["HostPort"])
        for container in stack.containers()
        for port, bindings in container["NetworkSettings"]["Ports"].items()
        for binding in bindings or []
    }
    assert bound == {
        ("3306/tcp", "127.0.0.1", str(stack.database_port)),
        ("8080/tcp", "127.0.0.1", str(stack.dashboard_port)),
    }


def test_a_password_stands_in_the_volume_alone(stack: Stack) -> None:
    files = ("muster_password", "root_password", "server-key.pem")
    paths = [*(f"/run/muster/{each}" for each in files), f"{ADMIN}/admin_password"]
    passwords = [stack.compose("exec", "-T", "db", "cat", path) for path in paths]
    assert len({each for each in passwords if len(each) >= 32}) == len(passwords)
    visible = {
        "docker inspect": json.dumps(stack.containers()),
        "image inspect": stack.docker("image", "inspect", *stack.images),
        "compose config": stack.compose("config"),
        "logs": stack.compose("logs", "--no-color"),
    }
    visible |= {each: stack.docker("history", "--no-trunc", each) for each in stack.images}
    visible |= {
        str(path): path.read_text(encoding="utf-8", errors="replace")
        for path in stack.folder.rglob("*")
        if path.is_file()
    }
    leaks = [name for name, text in visible.items() if any(each in text for each in passwords)]
    assert leaks == []


def test_workers_cannot_read_the_root_password(stack: Stack) -> None:
    shell = ("run", "--rm", "--no-deps", "-T", "--entrypoint", "sh", "worker", "-c")
    secrets = "/run/muster/root_password /run/muster/server-key.pem /run/muster-admin"
    command = (
        f"test -r /run/muster/muster_password && for each in {secrets}; do ! test -r $each; done"
    )
    stack.compose(*shell, command)


def test_images_are_not_root_and_hold_no_compiler(stack: Stack) -> None:
    for image in stack.images:
        (inspected,) = json.loads(stack.docker("image", "inspect", image))
        assert inspected["Config"]["User"] == "10001:10001"
        tools = "id -u; for each in cc gcc g++ c++ clang make; do command -v $each || true; done"
        said = stack.docker("run", "--rm", "--entrypoint", "sh", image, "-c", tools)
        assert said.split() == ["10001"]


def test_the_dashboard_image_holds_no_torch(stack: Stack) -> None:
    code = "import importlib.util; print(importlib.util.find_spec('torch'))"
    image = f"{stack.project}-dashboard"
    assert (
        stack.docker("run", "--rm", "--entrypoint", "python", image, "-c", code).strip() == "None"
    )


def test_down_loses_nothing_and_up_ends_at_once(stack: Stack, tmp_path: Path) -> None:
    before = stack.sql("SELECT * FROM trials ORDER BY trial_id")
    leases = stack.sql("SELECT trial_id, worker_id, state FROM muster_trials ORDER BY trial_id")
    predictions = copy_results(stack, tmp_path / "before") / "predictions.csv"
    stack.compose("down")
    stack.up(*SCALE)
    stack.wait_until_voted(seconds=VOTED_SECONDS)
    assert stack.sql("SELECT * FROM trials ORDER BY trial_id") == before
    after = stack.sql("SELECT trial_id, worker_id, state FROM muster_trials ORDER BY trial_id")
    assert after == leases
    again = copy_results(stack, tmp_path / "after") / "predictions.csv"
    assert again.read_bytes() == predictions.read_bytes()


def test_up_goes_on_where_down_cut_the_search_short(stack: Stack) -> None:
    stack.compose("down")
    more = ("study", "resume", "quickstart", "--trials", str(MORE_TRIALS))
    stack.compose("run", "--rm", "-T", "migrate", *more)
    stack.up(*SCALE)
    running = "SELECT COUNT(*) FROM muster_trials WHERE state = 'running'"
    stack.wait(
        lambda: stack.sql(running) != [["0"]], what="a worker claims a trial", seconds=120.0
    )
    stack.compose("down")
    stack.up(*SCALE)
    stack.wait_until_voted(seconds=VOTED_SECONDS)
    states = [state for (state,) in stack.sql("SELECT state FROM trials")]
    assert len(states) == TRIALS + MORE_TRIALS
    assert set(states) <= {"COMPLETE", "PRUNED"}


def test_a_fleet_joins_by_a_token_that_nobody_sees(stack: Stack, tmp_path: Path) -> None:
    invited = ("run", "--rm", "-T", "--no-deps", "admin", "invite", "fleet", "--role", "worker")
    token = stack.compose(*invited).strip()
    (tmp_path / "token").write_text(token)
    name = ("--fleet", stack.project)

    def fleet(*arguments: str) -> str:
        result = CliRunner().invoke(app, ["fleet", *arguments, *name])
        assert result.exit_code == 0, result.output
        return result.stdout

    def states() -> list[str]:
        return [each["state"] for each in json.loads(fleet("list", "--json"))]

    image = ("--image", f"{stack.project}-worker", "--network", "host")
    try:
        fleet("up", *image, "--study", "quickstart", "--join", str(tmp_path / "token"))
        stack.wait(lambda: states() == ["exited (0)"], what="a worker ends", seconds=120.0)
        assert "worker: done (nothing was left to run)" in fleet("logs")
        # It takes the first one's token along.
        fleet("scale", "--workers", "1")
        stack.wait(lambda: states() == ["exited (0)"] * 2, what="one more ends", seconds=120.0)
        names = [each["name"] for each in json.loads(fleet("list", "--json"))]
        assert token not in stack.docker("inspect", *names) + fleet("logs")
    finally:
        fleet("down")
    assert states() == []


def test_the_server_takes_nothing_but_tls(stack: Stack) -> None:
    password = stack.compose("exec", "-T", "db", "cat", "/run/muster/muster_password")
    login = {"host": "127.0.0.1", "port": stack.database_port, "user": "muster"}
    with pytest.raises(pymysql.OperationalError, match=r"secure_transport|Access denied"):
        pymysql.connect(**login, password=password, ssl_disabled=True)
    pymysql.connect(**login, password=password, ssl={"check_hostname": False}).close()


def test_a_member_joins_by_tls_and_is_revoked_in_mid_trial(stack: Stack, tmp_path: Path) -> None:
    create = 'printf %s "$0" >/tmp/long.toml && muster study create long --data japanese_vowels'
    once = ("run", "--rm", "-T", "--no-deps")
    stack.compose(
        *once, "--entrypoint", "sh", "migrate", "-c",
        f"{create} --space /tmp/long.toml --trials 1", LONG_SPACE,
    )  # fmt: skip
    token = stack.compose(*once, "admin", "invite", "alice", "--study", "long").strip()
    (tmp_path / "token").write_text(token)
    name = f"{stack.project}-alice"
    stack.docker(
        "run", "--detach", "--name", name, "--network", "host", "--init", "--volume",
        f"{tmp_path / 'token'}:/token:ro", "--env", "MUSTER_CHECKPOINT_SECONDS=1",
        "--env", "MUSTER_THREADS=1",
        f"{stack.project}-worker", "worker", "--join", "/token",
    )  # fmt: skip
    try:
        stored = "SELECT COUNT(*) FROM muster_trial_blobs WHERE name = 'checkpoint'"
        stack.wait(lambda: stack.sql(stored) != [["0"]], what="a checkpoint", seconds=300.0)
        assert token not in stack.docker("inspect", name)
        stack.compose(*once, "admin", "revoke", "alice")
        assert stack.docker("wait", name).strip() == "4"
        last = stack.docker_log(name).strip().splitlines()[-1]
        assert last.startswith("muster: this membership has ended")
        assert (
            sum(line.startswith("muster: ") for line in stack.docker_log(name).splitlines()) == 1
        )
    finally:
        stack.docker("rm", "--force", name)
    leases = (
        "SELECT state, attempt, failures FROM muster_trials JOIN studies USING (study_id)"
        " WHERE study_name = 'long'"
    )
    assert stack.sql(leases) == [["released", "1", "0"]]
    resuming = f"{stack.project}-resuming"
    stack.compose(
        "run", "--detach", "--name", resuming, "--no-deps", "worker", "worker", "--study", "long"
    )
    try:
        stack.wait(
            lambda: stack.sql(leases) == [["running", "2", "0"]],
            what="another worker resumes the trial",
            seconds=300.0,
        )
    finally:
        stack.docker("rm", "--force", resuming)


def copy_results(stack: Stack, folder: Path) -> Path:
    """The results as the README tells a user to copy them."""
    folder.mkdir(exist_ok=True)
    stack.compose("cp", "ensemble:/runs/.", str(folder))
    return folder / "quickstart"


def ask(stack: Stack, path: str) -> Any:
    """What the dashboard answers to somebody who came in by the newest link in its log."""
    address = f"http://127.0.0.1:{stack.dashboard_port}"
    logged = stack.compose("logs", "--no-color", "--no-log-prefix", "dashboard")
    link = re.findall(rf"dashboard: ({address}/\?token=\S+)", logged)[-1]
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    for each in (link, f"{address}{path}"):
        with browser.open(each, timeout=30) as answer:
            content = answer.read()
    return json.loads(content)
