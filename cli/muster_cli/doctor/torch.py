"""Is PyTorch here, and does it find and use the GPU."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
from dataclasses import dataclass
from pathlib import Path

from muster.findings import Finding, graded

OLDEST = (2, 6)
GIBIBYTE = 2**30
CUDA_BUILDS = "https://pytorch.org/get-started/locally"
# What the driver makes where there is a GPU, whether a container may use it or not.
DRIVER = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True)
class Gpu:
    """names: GPUs that PyTorch shows. built_for: its CUDA version, None of a CPU build.

    has_driver: whether NVIDIA's driver is on this machine. fault: why a GPU does not calculate.
    """

    names: tuple[str, ...]
    built_for: str | None
    has_driver: bool
    fault: str = ""


def read_torch() -> str | None:
    """PyTorch's version; None where it is not installed."""
    if importlib.util.find_spec("torch") is None:
        return None
    return importlib.metadata.version("torch")


def judge_torch(version: str | None) -> Finding:
    """version: None where there is none."""
    if version is None:
        return Finding(
            "PyTorch", "fail", "not installed",
            "pip install 'muster[worker]'; looking and inviting need none",
        )  # fmt: skip
    numbers = tuple(int(part) for part in version.split("+")[0].split(".")[:2])
    return graded(
        "PyTorch",
        version,
        fail=numbers < OLDEST,
        mend=f"install PyTorch {OLDEST[0]}.{OLDEST[1]} or newer",
    )


def read_gpu(*, driver: Path = DRIVER) -> Gpu:
    """Ask PyTorch, which must be installed, and let each GPU calculate something."""
    torch = importlib.import_module("torch")
    names, fault = [], ""
    for number in range(torch.cuda.device_count()):
        found = torch.cuda.get_device_properties(number)
        names.append(f"{found.name}, {found.total_memory / GIBIBYTE:.0f} GiB")
        try:
            torch.ones(8, 8, device=f"cuda:{number}").sum().item()
        except RuntimeError as error:
            fault = str(error).splitlines()[0]
    return Gpu(tuple(names), torch.version.cuda, driver.exists(), fault)


def judge_gpu(gpu: Gpu, *, device: str) -> Finding:
    """device: what MUSTER_DEVICE asks for."""
    if gpu.fault:
        return Finding(
            "GPU", "fail", f"{'; '.join(gpu.names)}: {gpu.fault}",
            f"update NVIDIA's driver, or install a PyTorch for this GPU: {CUDA_BUILDS}",
        )  # fmt: skip
    if gpu.names:
        return Finding("GPU", "ok", "; ".join(gpu.names))
    mend = "set MUSTER_DEVICE=cpu, or see to NVIDIA's driver (nvidia-smi)"
    if gpu.has_driver and gpu.built_for is None:
        mend = f"PyTorch is a CPU build; install one for CUDA: {CUDA_BUILDS}"
    elif gpu.has_driver:
        mend = "a container needs --gpus all and the NVIDIA container toolkit; else nvidia-smi"
    return graded(
        "GPU",
        "there is one that PyTorch does not see" if gpu.has_driver else "none: the CPU trains",
        fail=device.startswith("cuda"),
        warn=gpu.has_driver,
        mend=mend,
    )
