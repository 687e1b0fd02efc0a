"""The machine that a number is measured on: processor, memory, libraries."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import resource
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


def memory_bytes() -> int:
    """Physical memory of this machine, lowered by a cgroup limit where there is one."""
    total = psutil.virtual_memory().total
    try:
        limit = CGROUP_LIMIT.read_text().strip()
    except OSError:
        return total
    return min(total, int(limit)) if limit.isdigit() else total


def hardware() -> dict[str, Any]:
    """Processor, usable cores, memory, and of a process that has torch its threads and GPU."""
    found: dict[str, Any] = {
        "cpu": cpu_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1,
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
