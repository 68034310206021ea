from __future__ import annotations

from collections.abc import Sequence

import docker.errors
import pytest
import requests

from muster.errors import MusterError, Unavailable, UserError
from muster_worker.fleet.engine import connect, said_of


def test_an_address_that_is_none_is_refused_with_those_that_are() -> None:
    for address in ("tcp://gpu-box:2375", "gpu-box", "ssh://-oProxyCommand=x", "ssh://a b"):
        with pytest.raises(UserError, match="ssh://user@host"):
            connect(address)


def test_an_engine_that_is_not_there_is_told_with_the_mend() -> None:
    with pytest.raises(Unavailable, match=r"no such socket; .*systemctl start docker"):
        connect("unix:///nowhere/docker.sock")


@pytest.mark.parametrize(
    ("code", "said", "kind", "words"),
    [
        (255, "ssh: connect to host gpu-box port 22: Connection refused\n", Unavailable,
         "ssh refused .*Connection refused.*make `ssh -p 2222 -l me gpu-box` work"),
        (255, "me@gpu-box: Permission denied (publickey).\n", UserError, "without a password"),
        (127, "bash: docker: command not found\n", UserError, "install Docker on it"),
        (1, "permission denied while trying to connect\n", Unavailable, "usermod -aG docker"),
    ],
    ids=["refused", "no key", "no docker", "not allowed"],
)  # fmt: skip
def test_what_ssh_refuses_is_told_in_its_own_words(
    code: int, said: str, kind: type[MusterError], words: str
) -> None:
    asked: list[Sequence[str]] = []

    def run(command: Sequence[str]) -> tuple[int, str]:
        asked.append(command)
        return code, said

    with pytest.raises(kind, match=words):
        connect("ssh://me@gpu-box:2222", run=run)
    (command,) = asked
    assert command[:1] == ["ssh"]
    assert list(command[5:11]) == ["-p", "2222", "-l", "me", "--", "gpu-box"]
    assert "BatchMode=yes" in command


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (docker.errors.APIError("x", explanation='could not select device driver "" with '
         "capabilities: [[gpu]]"), UserError, "no GPU for --gpus there .*leave --gpus out"),
        (docker.errors.APIError("x", explanation="no space left\nat all"), MusterError,
         r"the engine refused: no space left$"),
        (requests.exceptions.ConnectionError("gone"), Unavailable, "no Docker engine answers"),
    ],
    ids=["gpu", "refused", "gone"],
)  # fmt: skip
def test_what_an_engine_refuses_is_one_message(
    error: Exception, kind: type[MusterError], words: str
) -> None:
    with pytest.raises(kind, match=words), said_of("ssh://box"):
        raise error
