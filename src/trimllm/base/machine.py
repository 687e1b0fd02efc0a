"""The machine that a number is measured on: names, processor, memory, libraries."""

import contextlib
import gc
import importlib.metadata
import os
import platform
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import psutil

LIBRARIES = ("torch", "transformers", "tokenizers", "safetensors", "datasets", "lm_eval", "numpy")
CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")  # a container's limit, which psutil ignores
CPU_INFO = Path("/proc/cpuinfo")  # of Linux
IGNORED = {
    "cuda": r"\b(nvidia|tesla|geforce|sxm\d*|pcie|hbm\d\w*|\d+gb)\b",
    "cpu": r"\(r\)|\(tm\)|\bprocessor\b|\bcpu\b|@.*",
}
"""What names of one machine differ in: brand, form factor, memory, clock."""


@cache
def versions(*more: str) -> dict[str, str]:
    """Versions of Python and of the libraries (and `more`) that can change a number."""
    result = {"python": platform.python_version()}
    for name in (*LIBRARIES, *more):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            result[name] = importlib.metadata.version(name)
    return result


def _cpu_info() -> str:
    return CPU_INFO.read_text() if CPU_INFO.is_file() else ""


def cpu_name() -> str:
    """Name of the processor."""
    names = re.findall(r"model name\s*: (.+)", _cpu_info())
    return names[0] if names else platform.processor() or platform.machine()


def cpu_has_bfloat16() -> bool:
    """Whether the processor has units for matrix products in bfloat16. Any AVX512 processor runs
    these products, but without the units slower than in float32."""
    return re.search("avx512_bf16|amx_bf16", _cpu_info()) is not None


def fast_dtype(device: str) -> str:
    """The type that models are served in: float16 on a GPU, as in the paper; on a CPU bfloat16
    where the processor computes in it, else float32."""
    if device == "cuda":
        return "float16"
    return "bfloat16" if cpu_has_bfloat16() else "float32"


def slug(name: str, device: str) -> str:
    """A machine's name in paths: `h100`, `a100`, `cpu-amd-epyc-7763-64-core`."""
    name = re.sub(r"rtx (\d)", r"rtx\1", name.lower())
    words = re.findall(r"[a-z0-9]+", re.sub(IGNORED[device], " ", name))
    return "-".join([*(["cpu"] if device == "cpu" else []), *(words or ["unnamed"])])


def this_machine(device: str) -> str:
    """Slug of the machine that this runs on; of several GPUs the first visible one."""
    names = [cpu_name()] if device == "cpu" else [one["name"] for one in gpus("name")]
    return slug(names[0] if names else "", device)


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def memory_bytes() -> int:
    """Physical memory, or the container's limit if that is lower."""
    total = psutil.virtual_memory().total
    with contextlib.suppress(OSError, ValueError):  # "max" is no limit
        return min(total, int(CGROUP_LIMIT.read_text()))
    return total


def gpus(*fields: str) -> list[dict[str, str]]:
    """`fields` of nvidia-smi of each GPU in CUDA_VISIBLE_DEVICES; empty without a driver."""
    query = ("index", "uuid", *fields)
    command = ["nvidia-smi", f"--query-gpu={','.join(query)}", "--format=csv,noheader"]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    cards = [dict(zip(query, line.split(", "), strict=True)) for line in run.stdout.splitlines()]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = tuple(re.findall(r"[^\s,]+", visible or ""))
    return [
        {field: card[field] for field in fields}
        for card in cards
        if visible is None or card["index"] in names or card["uuid"].startswith(names)
    ]


def hardware() -> dict[str, Any]:
    """Processor, usable cores, memory; threads and GPU if this process has imported torch."""
    facts: dict[str, Any] = {"cpu": cpu_name(), "cores": usable_cores()}
    facts |= {"memory_bytes": memory_bytes(), "gpu": None}
    if torch := sys.modules.get("torch"):
        facts["threads"] = torch.get_num_threads()
        facts["vector_units"] = torch.backends.cpu.get_cpu_capability()
        if torch.cuda.is_available():
            facts["gpu"] = torch.cuda.get_device_name()
    return facts


def peak_rss_bytes() -> int:
    """Largest resident memory of this process so far."""
    # Unlike getrusage's, it does not begin with that of the process that started this one.
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def free_memory(device: str) -> None:
    """Release unreferenced memory, the device's too: another process needs it."""
    import torch  # this module is for planning, too

    gc.collect()
    if torch.device(device).type == "cuda":
        torch.cuda.empty_cache()
