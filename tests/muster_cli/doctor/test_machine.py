from __future__ import annotations

from pathlib import Path

import pytest

from muster.findings import Finding
from muster_cli.doctor.disk import judge_disk, read_free
from muster_cli.doctor.python import judge_python
from muster_cli.doctor.torch import Gpu, judge_gpu, judge_torch, read_gpu
from muster_cli.doctor.versions import judge_muster

HERE = Path("cache")
H200 = "NVIDIA H200, 139 GiB"


@pytest.mark.parametrize(
    ("finding", "status", "said"),
    [
        (judge_python((3, 10, 4)), "fail", "Python 3.11 or newer"),
        (judge_python((3, 12, 0)), "ok", ""),
        (judge_torch(None), "fail", "muster[worker]"),
        (judge_torch("2.5.1+cu121"), "fail", "PyTorch 2.6"),
        (judge_torch("2.13.0+cpu"), "ok", ""),
        (judge_gpu(Gpu((H200,), "12.8", True), device="auto"), "ok", ""),
        (judge_gpu(Gpu((H200,), "12.8", True, "no kernel"), device="auto"), "fail", "driver"),
        (judge_gpu(Gpu((), None, False), device="auto"), "ok", ""),
        (judge_gpu(Gpu((), None, False), device="cuda:0"), "fail", "MUSTER_DEVICE=cpu"),
        (judge_gpu(Gpu((), None, True), device="auto"), "warn", "CPU build"),
        (judge_gpu(Gpu((), "12.8", True), device="auto"), "warn", "--gpus all"),
        (judge_disk("cache", HERE, 10 * 2**30), "ok", ""),
        (judge_disk("cache", HERE, 2**30), "warn", "make room"),
        (judge_disk("cache", HERE, 2**20), "fail", "make room"),
        (judge_disk("cache", HERE, None), "fail", "mend its rights"),
        (judge_muster("1.0", {"a": "1.0"}), "ok", ""),
        (judge_muster("1.0", {"a": "1.0", "b": "0.9"}), "warn", "install muster 0.9"),
        (judge_muster("1.0", {"b": "0.9"}), "fail", "install muster 0.9"),
    ],
    ids=lambda value: value.check if isinstance(value, Finding) else None,
)
def test_each_reading_is_judged(finding: Finding, status: str, said: str) -> None:
    assert finding.status == status
    assert said in finding.mend
    assert bool(finding.mend) == (status != "ok")


def test_room_is_looked_for_where_the_folder_will_be_made(tmp_path: Path) -> None:
    free = read_free(tmp_path / "not" / "yet")
    assert free is not None
    assert free > 0
    assert not (tmp_path / "not").exists()


def test_a_driver_without_a_gpu_for_pytorch_is_noticed(tmp_path: Path) -> None:
    assert not read_gpu(driver=tmp_path / "none").has_driver
    assert read_gpu(driver=tmp_path).has_driver
