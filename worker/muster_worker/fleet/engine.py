"""From an address to a Docker engine, over a local socket or SSH."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from muster.errors import MusterError, Unavailable, UserError

LOCAL: Final = "local"
KNOWN: Final = f"{LOCAL}, unix:///path/to/docker.sock or ssh://user@host[:port]"
# A name that began with a dash would be an option of ssh's.
SSH: Final = re.compile(
    r"ssh://(?:(?P<user>[\w.][\w.-]*)@)?(?P<host>[\w.][\w.-]*)(?::(?P<port>\d+))?/?"
)
SSH_SECONDS: Final = 15
ANSWER_SECONDS: Final = 60
SSH_FAILED, NO_COMMAND = 255, 127
MEND: Final = "is it started (systemctl start docker), and may this user use it (group docker)"
GPU_SIGNS: Final = ("could not select device driver", "nvidia-container-cli", "nvidia.com/gpu")

# Runs a command to its end: its exit code and what it said on stderr.
Run = Callable[[Sequence[str]], tuple[int, str]]


def connect(address: str, *, run: Run | None = None) -> Any:
    """A client of the Docker engine there, which has answered.

    Raises UserError for an address that is none, or that SSH or the engine refuses, and
    Unavailable where nobody answers.
    """
    docker = _library()
    if address != LOCAL and not address.startswith(("unix://", "ssh://")):
        raise UserError(f"{address}: not an address of a Docker engine; write {KNOWN}")
    if address.startswith("ssh://"):
        _check_ssh(address, run or _run)
    elif address != LOCAL and not Path(address.removeprefix("unix://")).exists():
        raise Unavailable(f"{address}: there is no such socket; {MEND}")
    with said_of(address):
        if address == LOCAL:
            client = docker.from_env(timeout=ANSWER_SECONDS)
        else:
            client = docker.DockerClient(
                base_url=address, use_ssh_client=True, timeout=ANSWER_SECONDS
            )
        client.ping()
    return client


@contextmanager
def said_of(address: str) -> Iterator[None]:
    """What the engine refuses within the block, in one message that names it and the mend."""
    errors = _library().errors
    try:
        yield
    except errors.ImageNotFound as error:
        raise UserError(f"{address}: {error.explanation}") from error
    except errors.APIError as error:
        text = str(error.explanation or error)
        if any(sign in text for sign in GPU_SIGNS):
            raise UserError(
                f"{address}: no GPU for --gpus there ({_first_line(text)}); install NVIDIA's "
                "driver and its container toolkit on that machine, or leave --gpus out"
            ) from error
        raise MusterError(f"{address}: the engine refused: {_first_line(text)}") from error
    # OSError: requests' own exceptions are some, and a socket that is not there.
    except (errors.DockerException, OSError) as error:
        raise Unavailable(
            f"{address}: no Docker engine answers ({_first_line(str(error))}); {MEND}"
        ) from error


def _check_ssh(address: str, run: Run) -> None:
    """Log in once, so that what SSH refuses is told in its own words."""
    found = SSH.fullmatch(address)
    if found is None:
        raise UserError(f"{address}: not an address that ssh understands; write {KNOWN}")
    user, host, port = found["user"], found["host"], found["port"]
    command = ["ssh", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={SSH_SECONDS}"]
    command += ["-p", port] if port else []
    command += ["-l", user] if user else []
    code, said = run(
        [*command, "--", host, "docker", "version", "--format", "{{.Server.Version}}"]
    )
    if code == 0:
        return
    why = said.strip().splitlines()[-1] if said.strip() else f"exit code {code}"
    if code == NO_COMMAND:
        raise UserError(f"{address}: there is no docker command there; install Docker on it")
    if code != SSH_FAILED:
        raise Unavailable(
            f"{address}: its Docker engine does not answer ({why}); start it there, and let this "
            "user use it (usermod -aG docker USER)"
        )
    by_hand = " ".join(["ssh", *command[5:], host])
    message = f"{address}: ssh refused ({why}); make `{by_hand}` work without a password first"
    is_away = any(sign in why for sign in ("timed out", "refused", "No route", "unreachable"))
    raise (Unavailable if is_away else UserError)(message)


def _run(command: Sequence[str]) -> tuple[int, str]:
    try:
        done = subprocess.run(
            command,
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=2 * SSH_SECONDS,
        )
    except FileNotFoundError as error:
        raise UserError("there is no ssh command here; install OpenSSH's client") from error
    except subprocess.TimeoutExpired:
        return SSH_FAILED, "timed out"
    return done.returncode, done.stderr


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0] if text.strip() else "no reason given"


def _library() -> Any:
    try:
        import docker  # noqa: PLC0415 - an extra of its own
    except ImportError as error:
        raise UserError(
            "the Docker library is not installed; pip install 'muster[fleet]'"
        ) from error
    return docker
