"""What of a machine is known without torch: its GPUs, and whether its cores compute in 16 bits."""

from __future__ import annotations

import os
import re
import subprocess
from functools import cache
from pathlib import Path

PAPER_GPUS = ("a100", "v100", "rtx3090")
"""The kinds of GPU that the paper measured on."""
# Words of a name that make another thing of a GPU: a faster or smaller card, a share of one.
OTHERS = {"ti", "super", "mig", "grid", "laptop", "mobile"}


def gpu_kind(name: str) -> str | None:
    """Which of the paper's GPUs a name means, by whole words; None for any other.

    Args:
        name: as a driver gives it, or as it stands in paths of results.

    >>> gpu_kind("NVIDIA A100-SXM4-80GB"), gpu_kind("geforce-rtx-3090"), gpu_kind("RTX A1000")
    ('a100', 'rtx3090', None)
    """
    words = set(re.findall(r"[a-z0-9]+", name.lower()))
    if words & OTHERS:
        return None
    return next((kind for kind in PAPER_GPUS if words & {kind, kind.removeprefix("rtx")}), None)


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
    try:
        words = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    except OSError:
        return False
    return bool(words & {"avx512_bf16", "amx_bf16"})
