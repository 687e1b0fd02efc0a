"""The name of a machine in paths and tables, and what of its state can move a timing."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from trimllm.base import machine as provenance

GPUS = {
    "h100": "H100",
    "h200": "H200",
    "a100": "A100",
    "v100": "V100",
    "rtx3090": "RTX 3090",
    "rtx4090": "RTX 4090",
}
"""Slug -> how the driver's name of the GPU contains it; other GPUs get a slug of their name."""
STATE = (
    *("driver_version", "clocks.sm", "clocks.mem", "clocks.max.sm"),
    *("temperature.gpu", "power.limit"),
)


def slug(name: str, device: str) -> str:
    """A machine's name in paths: `h100`, `a100`, `cpu-amd-epyc`.

    >>> slug("NVIDIA A100-SXM4-80GB", "cuda"), slug("AMD EPYC 7763 64-Core Processor", "cpu")
    ('a100', 'cpu-amd-epyc-7763-64-core')
    """
    if device == "cuda":
        for known, inside in GPUS.items():
            # a name of its own: an RTX A1000 is no A100, an RTX 3090 Ti or a share no RTX 3090
            inside = inside.replace(" ", r"\s*")
            whole = rf"^(?!.*\b(mig|grid|laptop)\b).*\b{inside}(?!\d|\s*(ti|super)\b)"
            if re.search(whole, name, re.IGNORECASE):
                return known
    words = re.sub(r"\(r\)|\(tm\)|\bprocessor\b|\bcpu\b|@.*|\bnvidia\b", " ", name.lower())
    words = "-".join(re.findall(r"[a-z0-9]+", words)) or "unnamed"
    return words if device == "cuda" else f"cpu-{words}"


def this_machine(device: str) -> str:
    """Slug of the machine that this runs on."""
    return slug(provenance.cpu_name() if device == "cpu" else _gpu("name").get("name", ""), device)


def fast_dtype(device: str) -> str:
    """The type that models are served in here: float16 on a GPU, as in the paper; on a CPU bfloat16
    where the processor computes in it, else float32."""
    if device == "cuda":
        return "float16"
    return "bfloat16" if re.search("avx512_bf16|amx_bf16", _read("/proc/cpuinfo")) else "float32"


def state(device: str) -> dict[str, Any]:
    """Load, clocks and driver at this moment; what a machine does not say is left out."""
    found: dict[str, Any] = {"load_average": [round(value, 2) for value in os.getloadavg()]}
    if clocks := re.findall(r"cpu MHz\s*:\s*([0-9.]+)", _read("/proc/cpuinfo")):
        found["cpu_mhz"] = round(max(map(float, clocks)))
    if governor := _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").strip():
        found["cpu_governor"] = governor
    if device == "cuda" and (gpu := _gpu(*STATE)):
        found["gpu"] = gpu
    return found


def _read(path: str) -> str:
    with suppress(OSError):
        return Path(path).read_text()
    return ""


def _gpu(*fields: str) -> dict[str, str]:
    """nvidia-smi's fields of the first GPU; nothing where there is none."""
    return next(iter(provenance.gpus(*fields)), {})
