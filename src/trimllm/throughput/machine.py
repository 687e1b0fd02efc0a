"""The name of a machine in paths and tables, and its state, which can move a timing."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import psutil

from trimllm.base import machine as provenance

IGNORED = {
    "cuda": r"\b(nvidia|tesla|geforce|sxm\d*|pcie|hbm\d\w*|\d+gb)\b",
    "cpu": r"\(r\)|\(tm\)|\bprocessor\b|\bcpu\b|@.*",
}
"""What names of one machine differ in: brand, form factor, memory, clock."""
STATE = ("driver_version", "clocks.sm", "clocks.mem", "temperature.gpu", "power.limit")


def slug(name: str, device: str) -> str:
    """A machine's name in paths: `h100`, `a100`, `cpu-amd-epyc`.

    >>> slug("NVIDIA A100-SXM4-80GB", "cuda"), slug("AMD EPYC 7763 64-Core Processor", "cpu")
    ('a100', 'cpu-amd-epyc-7763-64-core')
    """
    name = re.sub(r"rtx (\d)", r"rtx\1", name.lower())
    words = re.findall(r"[a-z0-9]+", re.sub(IGNORED[device], " ", name))
    return "-".join([*(["cpu"] if device == "cpu" else []), *(words or ["unnamed"])])


def this_machine(device: str) -> str:
    """Slug of the machine that this runs on."""
    if device == "cpu":
        return slug(provenance.cpu_name(), device)
    gpus = provenance.gpus("name")
    return slug(gpus[0]["name"] if gpus else "", device)


def fast_dtype(device: str) -> str:
    """The type that models are served in: float16 on a GPU, as in the paper; on a CPU bfloat16
    where the processor computes in it, else float32. Planning calls it, without torch."""
    if device == "cuda":
        return "float16"
    cpu = Path("/proc/cpuinfo")
    flags = cpu.read_text() if cpu.is_file() else ""
    return "bfloat16" if re.search("avx512_bf16|amx_bf16", flags) else "float32"


def state(device: str) -> dict[str, Any]:
    """Load, clock and GPU at this moment, as far as the machine reports them."""
    state: dict[str, Any] = {"load_average": [round(value, 2) for value in os.getloadavg()]}
    if clock := psutil.cpu_freq():
        state["cpu_mhz"] = round(clock.current)
    if device == "cuda" and (gpus := provenance.gpus(*STATE)):
        state["gpu"] = gpus[0]
    return state
