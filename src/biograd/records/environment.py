"""What a result depends on besides its configuration: code, versions, hardware and threads."""

import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import biograd
from biograd.records.rows import Environment


def environment() -> Environment:
    """The code, versions, hardware and switches of this process, as a run's ``environment.json`` holds them.

    Returns:
        ``biograd python torch numpy`` (versions), ``commit`` and ``dirty`` (the checkout that the package
        runs from, and whether the package differs from it; None outside a checkout), ``platform cpu``,
        ``cores`` (that this process may use), ``threads`` (PyTorch's, within an operation), ``gpu cuda``
        (None without one), and PyTorch's switches ``deterministic cudnn_deterministic cudnn_benchmark
        matmul_precision``.
    """
    import torch

    commit, dirty = _checkout(Path(biograd.__file__).parent)
    return {
        "biograd": biograd.__version__,
        "commit": commit,
        "dirty": dirty,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": _version("numpy"),
        "platform": platform.platform(),
        "cpu": _cpu_model(),
        "cores": _usable_cores(),
        "threads": torch.get_num_threads(),
        "gpu": _gpus(torch),
        "cuda": torch.version.cuda,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "cudnn_deterministic": torch.backends.cudnn.deterministic,
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "matmul_precision": torch.get_float32_matmul_precision(),
    }


def _checkout(package: Path) -> tuple[str | None, bool | None]:
    """The commit that holds the package, and whether the package differs from it; None when git does not track it.

    An installed package may lie inside someone else's checkout, whose commit says nothing about it.
    """
    tracked = _git(package, "ls-files", "--error-unmatch", "__init__.py")
    commit = _git(package, "rev-parse", "HEAD") if tracked else None
    if not commit:
        return None, None
    return commit, bool(_git(package, "status", "--porcelain", "--", "."))


def _git(folder: Path, *arguments: str) -> str | None:
    """What git prints, None when it is missing or refuses."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=20, env=clean
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _cpu_model() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _gpus(torch: Any) -> str | None:
    """Names of the visible GPUs, each once; None without one."""
    if not torch.cuda.is_available():
        return None
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return ", ".join(f"{names.count(name)} × {name}" for name in dict.fromkeys(names))
