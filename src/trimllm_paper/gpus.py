"""Kinds of GPUs: told apart by whole words, memory and form; what each has, by its data sheet.

Plans, reservations and the number of processes of a training follow from the kind. It is named by
`compute.gpu`, or asked of this machine's driver; where neither tells, it is the paper's A100.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from trimllm.base import machine

GB = 1e9


@dataclass(frozen=True)
class Kind:
    """A GPU: GiB of memory, dense 16-bit operations a second, bytes a second of its memory and,
    one way, of its link to the others of a machine."""

    gib: float
    rate: float
    memory: float
    link: float


NVLINK3, NVLINK4, PCIE4, PCIE5 = 300 * GB, 450 * GB, 31.5 * GB, 63 * GB
KINDS = {
    "A100-SXM4-80GB": Kind(80, 312e12, 2039 * GB, NVLINK3),
    "A100-PCIe-80GB": Kind(80, 312e12, 1935 * GB, PCIE4),
    "A100-SXM4-40GB": Kind(40, 312e12, 1555 * GB, NVLINK3),
    "A100-PCIe-40GB": Kind(40, 312e12, 1555 * GB, PCIE4),
    "H100-SXM5-80GB": Kind(80, 989e12, 3350 * GB, NVLINK4),
    "H100-PCIe-80GB": Kind(80, 756e12, 2039 * GB, PCIE5),
    "H200-141GB": Kind(141, 989e12, 4800 * GB, NVLINK4),
    "L40S-48GB": Kind(48, 362e12, 864 * GB, PCIE4),
    "RTX-3090-24GB": Kind(24, 71e12, 936 * GB, PCIE4),
    "RTX-4090-24GB": Kind(24, 165e12, 1008 * GB, PCIE4),
}
"""By name: family, form (where there are several), memory. Sources: NVIDIA's data sheets."""
COMPUTE_REACHED, LINK_REACHED = 0.40, 0.60
"""Shares of `rate` and `link` that training reaches, as plans assume."""
ASSUMED = "A100-SXM4-80GB"
"""Where nobody tells: the paper trained on A100 of 80 GB."""
SHARED = {"mig", "grid", "laptop", "ti", "super", "nvl"}
"""Words of what is a part of a GPU, or another one."""


def kind_named(name: str, gib: float) -> str | None:
    """The kind of a GPU, by the driver's name of it and its memory; None for one that is not known.

    Every word of a kind's family must be a word of the name, so that an RTX A1000 is no A100 and an
    RTX 3090 Ti no RTX 3090. The memory tells A100 of 40 and of 80 GB apart, and a word their form:
    SXM (also HBM3: what the driver calls an H100 of that form), or else PCIe.

    >>> kind_named("NVIDIA A100 80GB PCIe", 80), kind_named("NVIDIA RTX A1000", 8)
    ('A100-PCIe-80GB', None)
    """
    words = re.findall(r"[a-z0-9]+", name.lower())
    if SHARED.intersection(words):
        return None
    form = "sxm" if any(word.startswith(("sxm", "hbm")) for word in words) else "pcie"
    for known, kind in KINDS.items():
        *family, _ = known.lower().split("-")
        forms = [word for word in family if word.startswith(("sxm", "pcie"))]
        same = set(family) - set(forms) <= set(words) and abs(gib / kind.gib - 1) < 0.1
        if same and all(one.startswith(form) for one in forms):
            return known
    return None


@cache
def here() -> tuple[tuple[str, float], ...]:
    """Name and GiB of every GPU that jobs on this machine may use; none where nothing tells."""
    told = machine.gpus("name", "memory.total")
    # (Of memory that is shared with the host, nothing is told.)
    sizes = ((one["name"], one["memory.total"].partition(" ")[0]) for one in told)
    return tuple((name, float(mib) / 1024) for name, mib in sizes if mib.isdigit())


def kind_of(config: Any) -> tuple[str, Kind]:
    """Name and data of the GPUs that a configuration's jobs run on."""
    told = config.compute.gpu
    if told is None and (present := here()):
        name, gib = min(present, key=lambda one: one[1])
        known = kind_named(name, gib)
        # What is not known is planned as the assumed kind is, but for its memory.
        return known or name, KINDS.get(known or "") or Kind(gib, *_but_memory(KINDS[ASSUMED]))
    return (told or ASSUMED), KINDS[told or ASSUMED]


def _but_memory(kind: Kind) -> tuple[float, float, float]:
    return kind.rate, kind.memory, kind.link


def gpus_present() -> int:
    """GPUs of this machine, without asking their driver."""
    return len(list(Path("/dev").glob("nvidia[0-9]*")))


def uses_gpu(config: Any) -> bool:
    """Whether jobs run on a GPU; drivers are not asked."""
    device = config.compute.device
    return device == "cuda" or (device == "auto" and gpus_present() > 0)
