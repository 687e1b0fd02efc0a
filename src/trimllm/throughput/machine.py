"""The name of a machine in paths and tables, and the type that models are served in on it."""

from __future__ import annotations

import re
from pathlib import Path

from trimllm.base.machine import cpu_name, gpus

IGNORED = {
    "cuda": r"\b(nvidia|tesla|geforce|sxm\d*|pcie|hbm\d\w*|\d+gb)\b",
    "cpu": r"\(r\)|\(tm\)|\bprocessor\b|\bcpu\b|@.*",
}
"""What names of one machine differ in: brand, form factor, memory, clock."""


def slug(name: str, device: str) -> str:
    """A machine's name in paths: `h100`, `a100`, `cpu-amd-epyc`.

    >>> slug("NVIDIA A100-SXM4-80GB", "cuda"), slug("AMD EPYC 7763 64-Core Processor", "cpu")
    ('a100', 'cpu-amd-epyc-7763-64-core')
    """
    name = re.sub(r"rtx (\d)", r"rtx\1", name.lower())
    words = re.findall(r"[a-z0-9]+", re.sub(IGNORED[device], " ", name))
    return "-".join([*(["cpu"] if device == "cpu" else []), *(words or ["unnamed"])])


def this_machine(device: str) -> str:
    """Slug of the machine that this runs on; of several GPUs the first visible one."""
    names = [cpu_name()] if device == "cpu" else [one["name"] for one in gpus("name")]
    return slug(names[0] if names else "", device)


def fast_dtype(device: str) -> str:
    """The type that models are served in: float16 on a GPU, as in the paper; on a CPU bfloat16
    where the processor computes in it, else float32. Planning calls it, without torch."""
    if device == "cuda":
        return "float16"
    cpu = Path("/proc/cpuinfo")
    flags = cpu.read_text() if cpu.is_file() else ""
    return "bfloat16" if re.search("avx512_bf16|amx_bf16", flags) else "float32"
