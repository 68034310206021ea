"""The compose stack of a fresh clone, under a project name and on ports of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[1]
FILES = ("docker-compose.yml", "tests/system/compose.host-network.yml")


def has_engine() -> bool:
    """Whether a Docker engine with compose answers here."""
    if shutil.which("docker") is None:
        return False
    commands = (["docker", "info"], ["docker", "compose", "version"])
    ended = [subprocess.run(each, check=False, capture_output=True) for each in commands]
    return all(each.returncode == 0 for each in ended)


def clone_tracked_files(target: Path) -> None:
    """Copy what a fresh clone would hold: the tracked files alone."""
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z"],
        cwd=REPOSITORY, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    for name in listed.split("\0"):
        source = REPOSITORY / name
        if name and source.is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name)


class Stack:
    """Runs docker compose in one folder; remove() takes everything away that it made."""

    def __init__(self, folder: Path, *, database_port: int, dashboard_port: int) -> None:
        self.folder = folder
        self.project = f"muster-test-{uuid.uuid4().hex[:8]}"
        self.database_port = database_port
        self.dashboard_port = dashboard_port
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("MUSTER_")}
        self._environment = inherited | {
            "MUSTER_DB_PORT": str(database_port),
            "MUSTER_DASHBOARD_PORT": str(dashboard_port),
        }

    @property
    def images(self) -> list[str]:
        """The images that the stack builds."""
        return [f"{self.project}-worker", f"{self.project}-dashboard"]

    def compose(self, *arguments: str) -> str:
        """Run docker compose and return its output; raises AssertionError with it otherwise."""
        files = [part for name in FILES for part in ("-f", name)]
        return self._run("docker", "compose", *files, "-p", self.project, *arguments)

    def up(self, *arguments: str) -> None:
        """Start the stack in the background; where a service fails, its log says why."""
        try:
            self.compose("up", "--detach", *arguments)
        except AssertionError as error:
            logs = self.compose("logs", "--no-color", "--tail", "60")
            raise AssertionError(f"{error}\n{logs}") from error

    def docker(self, *arguments: str) -> str:
        """Run docker likewise."""
        return self._run("docker", *arguments)

    def docker_log(self, container: str) -> str:
        """What a container wrote to stderr."""
        command = ["docker", "logs", container]
        return subprocess.run(command, check=True, capture_output=True, text=True).stderr

    def containers(self, service: str | None = None) -> list[dict[str, Any]]:
        """What docker inspect says of a service's containers, the ended ones too."""
        listed = self.compose("ps", "--all", "--quiet", *([service] if service else []))
        found: list[dict[str, Any]] = json.loads(self.docker("inspect", *listed.split()) or "[]")
        return found

    def sql(self, query: str) -> list[list[str]]:
        """Rows of a query, run by the account muster over TCP in the database's container."""
        login = (
            "<(printf '[client]\\npassword=%s\\n[client-mariadb]\\nssl\\n'"
            ' "$(</run/muster/muster_password)")'
        )
        client = f"mysql --defaults-extra-file={login} --protocol=tcp --host=127.0.0.1"
        options = "--user=muster --batch --skip-column-names"
        command = f'{client} {options} --execute="$0" muster'
        text = self.compose("exec", "-T", "db", "bash", "-c", command, query)
        return [line.split("\t") for line in text.splitlines()]

    def wait(self, condition: Callable[[], bool], *, what: str, seconds: float) -> None:
        """Poll until the condition holds; at the deadline fail with the end of the logs."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                logs = self.compose("logs", "--no-color", "--tail", "40")
                raise AssertionError(f"{what}: not within {seconds:.0f} s\n{logs}")
            time.sleep(0.5)

    def wait_until_voted(self, *, seconds: float) -> None:
        """Wait until the ensemble and all workers have ended well."""

        def has_ended() -> bool:
            states = [
                each["State"]
                for service in ("worker", "ensemble")
                for each in self.containers(service)
            ]
            failed = [each for each in states if each["Status"] == "exited" and each["ExitCode"]]
            assert not failed, self.compose("logs", "--no-color", "--tail", "60")
            return all(each["Status"] == "exited" and each["ExitCode"] == 0 for each in states)

        self.wait(has_ended, what="workers and ensemble exit 0", seconds=seconds)

    def remove(self) -> None:
        """Remove the containers, the volumes and the images of this project."""
        self.compose("down", "--volumes", "--remove-orphans", "--timeout", "2")
        self.docker("image", "rm", "--force", *self.images)

    def _run(self, *command: str) -> str:
        done = subprocess.run(
            command,
            check=False,
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            said = f"{done.stdout[-6000:]}\n{done.stderr[-6000:]}"
            raise AssertionError(f"{' '.join(command)}: exit code {done.returncode}\n{said}")
        return done.stdout
