"""What of a machine is known without torch: its GPUs, and whether its cores compute in 16 bits."""

from __future__ import annotations

import os
import subprocess
from functools import cache
from pathlib import Path

from trimllm.throughput.machine import fast_dtype


def gpu_count() -> int:
    """GPUs of this machine, without asking their driver."""
    return len(list(Path("/dev").glob("nvidia[0-9]*")))


def gpu_memory_gib() -> list[float]:
    """GiB of every GPU that jobs on this machine may use; none where nothing tells."""
    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    found = [float(line) / 1024 for line in run.stdout.split()]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return found if visible is None else found[: len([v for v in visible.split(",") if v.strip()])]


@cache
def core_has_16_bits() -> bool:
    """Whether this machine's cores multiply in bfloat16."""
    return fast_dtype("cpu") == "bfloat16"
