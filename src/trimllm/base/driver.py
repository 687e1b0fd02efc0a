"""What NVIDIA's driver says of the GPUs, and whether the installed torch can use them.

`nvidia-smi` and a file of torch are read and nothing is imported: planning imports no torch, and
what torch itself says of a driver that does not fit is a traceback out of the middle of a job.
"""

from __future__ import annotations

import csv
import importlib.util
import os
import re
import runpy
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Build:
    """What torch built for a CUDA asks for: the oldest driver, by its first number; the least
    compute capability of a GPU; the first number of the greatest one, None where it has no end."""

    driver: int
    least: tuple[int, int]
    greatest: int | None = None


BUILDS = {
    "13": Build(580, (7, 5)),
    "12": Build(525, (5, 0)),
    "12.9": Build(525, (7, 5)),
    "12.6": Build(525, (5, 0), 9),
}
"""By CUDA, where an entry with a minor version comes before that of its major one.

Sources: drivers, table 1 of "Minor Version Compatibility" in NVIDIA's CUDA Compatibility
(https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html); capabilities,
the release notes of CUDA 12 and 13, and for builds of PyTorch `PYTORCH_RELEASES_CODE_CC` in
torch/cuda/__init__.py of torch 2.13 (x86-64).
"""
PUBLISHED = ("13.0", "12.9", "12.6")
"""CUDA of the builds that PyTorch publishes of the pinned release, in the order of advice."""
INDEX = "https://download.pytorch.org/whl/"


def ask(*fields: str) -> list[dict[str, str]]:
    """What the driver says of each GPU that CUDA shows to this process; empty where nothing tells.

    Args:
        fields: as in `nvidia-smi --help-query-gpu`; values keep their units.
    """
    query = ("index", "uuid", *fields)
    run = _run(f"--query-gpu={','.join(query)}", "--format=csv,noheader")
    if run is None or run.returncode:
        return []
    rows = csv.reader(run.stdout.splitlines(), skipinitialspace=True)
    found = [dict(zip(query, row, strict=True)) for row in rows if len(row) == len(query)]
    if (shown := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        names = [name.strip() for name in shown.split(",") if name.strip()]
        found = [one for one in found if any(_is_called(name, one) for name in names)]
    return [{field: one[field] for field in fields} for one in found]


def unusable() -> str | None:
    """Why torch cannot use this machine's GPUs, and the remedy, in one line.

    None where it can, and where nothing tells: no driver, GPUs that are hidden, a CUDA that is not
    in `BUILDS`.
    """
    found = ask("driver_version", "name", "compute_cap")
    # Drivers of before 495 do not know the last of these and answer none.
    found = found or ask("driver_version", "name")
    torch = _torch()
    if not found or torch is None:
        return _failure() if torch else None
    version, cuda = torch
    driver, name = found[0]["driver_version"], found[0]["name"]
    has = {one["name"]: one.get("compute_cap", "") for one in found}
    remedy = _remedy(version.partition("+")[0], driver, list(has.values()))
    if cuda is None:
        return (
            f"torch {version} is built without CUDA, and this machine has {name} (driver {driver});"
            f" {remedy}, or say device: cpu"
        )
    build = _build(cuda)
    if build is None:
        return None
    for_cuda = f"torch {version} is built for CUDA {cuda}, which"
    if _number(driver) < build.driver and _cuda_of_driver() < _number(cuda):
        return (
            f"{for_cuda} needs driver {build.driver} or newer, and this machine has {driver};"
            f" update that, or {remedy}"
        )
    for name, capability in has.items():
        if not _serves(build, capability):
            problem = f"does not serve {name} (compute capability {capability})"
            return f"{for_cuda} {problem}; {remedy}"
    return None


def _run(*words: str) -> subprocess.CompletedProcess[str] | None:
    """nvidia-smi at its end; None where there is none, or none that ends."""
    try:
        return subprocess.run(["nvidia-smi", *words], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return None


def _is_called(name: str, gpu: dict[str, str]) -> bool:
    """Whether an entry of CUDA_VISIBLE_DEVICES means a GPU: by number or the start of its UUID.

    Numbers are those of `CUDA_DEVICE_ORDER=PCI_BUS_ID`, which differ from CUDA's own order only
    among GPUs of several kinds.
    """
    return name == gpu["index"] or (name.startswith("GPU-") and gpu["uuid"].startswith(name))


def _torch() -> tuple[str, str | None] | None:
    """Version of the installed torch, and the CUDA that it is built for."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    told = runpy.run_path(str(Path(spec.origin).with_name("version.py")))
    return told["__version__"], told["cuda"]


def _failure() -> str | None:
    """Why the driver says nothing of any GPU, where it says why."""
    run = _run()
    if run is None or run.returncode == 0:
        return None
    lines = [line for line in f"{run.stdout}\n{run.stderr}".splitlines() if line.strip()]
    why = lines[0].strip() if lines else f"status {run.returncode}"
    return f"nvidia-smi fails ({why}); mend the driver, or say device: cpu"


def _cuda_of_driver() -> int:
    """Major version of the CUDA that programs meet here, 0 where nothing tells: newer than the
    driver where NVIDIA's package for forward compatibility is installed."""
    run = _run()
    told = re.search(r"CUDA (?:UMD )?Version:\s*(\d+)", run.stdout if run else "")
    return int(told[1]) if told else 0


def _number(version: str) -> int:
    """First number of a version."""
    found = re.match(r"\d+", version)
    return int(found[0]) if found else 0


def _build(cuda: str) -> Build | None:
    return BUILDS.get(cuda) or BUILDS.get(cuda.partition(".")[0])


def _serves(build: Build, capability: str) -> bool:
    """Whether a build has code for GPUs of a capability, "8.0"; of one that is not known, yes."""
    told = re.fullmatch(r"(\d+)\.(\d+)", capability)
    if told is None:
        return True
    major, minor = int(told[1]), int(told[2])
    return build.least <= (major, minor) and (build.greatest is None or major <= build.greatest)


def _remedy(release: str, driver: str, capabilities: list[str]) -> str:
    """What to install so that torch serves GPUs of these capabilities under a driver."""
    builds = {cuda: build for cuda in PUBLISHED if (build := _build(cuda))}
    served = [
        cuda for cuda, one in builds.items() if all(_serves(one, each) for each in capabilities)
    ]
    if not served:
        return "no one build serves all that are here: name others in CUDA_VISIBLE_DEVICES"
    for cuda in served:
        if builds[cuda].driver <= _number(driver):
            index = f"cu{cuda.replace('.', '')}"
            return f"pip install torch=={release}+{index} --index-url {INDEX}{index}"
    return f"install driver {min(builds[cuda].driver for cuda in served)}"
