"""The machine that a number is measured on: processor, memory, libraries."""

from __future__ import annotations

import contextlib
import csv
import importlib.metadata
import os
import platform
import resource
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import psutil

LIBRARIES = ("torch", "transformers", "tokenizers", "safetensors", "datasets", "lm_eval", "numpy")
# A container's own limit, which psutil does not look at.
CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


@cache
def versions(*more: str) -> dict[str, str]:
    """Versions of Python and of the libraries (and `more`) that can change a number."""
    found = {"python": platform.python_version()}
    for name in (*LIBRARIES, *more):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def cpu_name() -> str:
    """Name of the processor as the system gives it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def usable_cores() -> int:
    """Cores that this process may use; all of the machine where the system does not say (macOS)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory_bytes() -> int:
    """Physical memory of this machine, lowered by a cgroup limit where there is one."""
    total = psutil.virtual_memory().total
    try:
        limit = CGROUP_LIMIT.read_text().strip()
    except OSError:
        return total
    return min(total, int(limit)) if limit.isdigit() else total


def gpus(*fields: str) -> list[dict[str, str]]:
    """What the NVIDIA driver says of each GPU in CUDA_VISIBLE_DEVICES; empty without a driver.

    Args:
        fields: as in `nvidia-smi --help-query-gpu`; values keep their units.
    """
    query = ("index", "uuid", *fields)
    command = ["nvidia-smi", f"--query-gpu={','.join(query)}", "--format=csv,noheader"]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    rows = csv.reader(run.stdout.splitlines(), skipinitialspace=True)
    found = [dict(zip(query, row, strict=True)) for row in rows if len(row) == len(query)]
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        # By number, in the order of the bus, or by the start of the UUID.
        names = [name.strip() for name in visible.split(",") if name.strip()]
        found = [
            gpu for gpu in found if gpu["index"] in names or gpu["uuid"].startswith(tuple(names))
        ]
    return [{field: gpu[field] for field in fields} for gpu in found]


def hardware() -> dict[str, Any]:
    """Processor, usable cores, memory, and of a process that has torch its threads and GPU."""
    found: dict[str, Any] = {
        "cpu": cpu_name(),
        "cores": usable_cores(),
        "memory_bytes": memory_bytes(),
        "gpu": None,
    }
    torch = sys.modules.get("torch")
    if torch is not None:
        found["threads"] = torch.get_num_threads()
        found["vector_units"] = torch.backends.cpu.get_cpu_capability()
        if torch.cuda.is_available():
            found["gpu"] = torch.cuda.get_device_name()
    return found


def peak_rss_bytes() -> int:
    """Largest resident memory of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
