from __future__ import annotations

import re
import signal
import subprocess
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "deploy" / "slurm" / "worker.sbatch"
# Says what it was started with, then waits to be told to stop.
MUSTER = """#!/bin/bash
trap 'echo stopped; exit 0' TERM
echo "$@ $MUSTER_JOIN $MUSTER_THREADS"
while :; do sleep 0.05; done
"""


def test_the_signal_before_the_end_reaches_the_worker(tmp_path: Path) -> None:
    (tmp_path / "muster").write_text(MUSTER)
    (tmp_path / "muster").chmod(0o755)
    environment = {
        "PATH": f"{tmp_path}:/usr/bin:/bin", "HOME": "/home/ann", "SLURM_CPUS_PER_TASK": "4"
    }  # fmt: skip
    command = ["bash", str(SCRIPT), "--study", "s"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as job:
        assert job.stdout is not None
        assert job.stdout.readline() == "worker --study s /home/ann/.muster/token 4\n"
        # Slurm sends it to the batch shell alone.
        job.send_signal(signal.SIGTERM)
        assert job.stdout.read() == "stopped\n"
    assert job.returncode == 0


def test_every_directive_is_read_before_the_first_command() -> None:
    lines = SCRIPT.read_text(encoding="utf-8").splitlines()
    first = next(n for n, line in enumerate(lines) if line and not line.startswith("#"))
    directives = [n for n, line in enumerate(lines) if line.startswith("#SBATCH")]
    assert directives
    assert max(directives) < first
    asked = dict(re.findall(r"^#SBATCH --([\w-]+)=(\S+)", "\n".join(lines), flags=re.MULTILINE))
    assert asked["signal"] == "B:TERM@60"
    assert "--array" not in asked
