"""Whether the installed torch can use this machine's GPUs, without importing torch."""

from __future__ import annotations

import importlib.util
import re
import runpy
import subprocess
from pathlib import Path

from trimllm.base.machine import gpus

NEEDS = {13: (580, (7, 5)), 12: (525, (5, 0))}
"""By CUDA's major version, the oldest driver and the least compute capability that torch's builds
serve. Sources: NVIDIA's CUDA Compatibility, table "Minor Version Compatibility"; torch/cuda."""
INDEX = "https://download.pytorch.org/whl"


def unusable() -> str | None:
    """Why torch cannot use this machine's GPUs, and the remedy, in one line; None if it can, if the
    GPUs are hidden, or if nothing is known."""
    try:
        run = subprocess.run(["nvidia-smi"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return None
    if run.returncode:
        words = f"{run.stdout}{run.stderr}".strip().partition("\n")[0]
        return f"nvidia-smi fails ({words}); repair the driver or set device: cpu"
    # Drivers before 495 do not know the capability and refuse the query.
    cards = gpus("driver_version", "name", "compute_cap") or gpus("driver_version", "name")
    spec = importlib.util.find_spec("torch")
    if not cards or spec is None or spec.origin is None:
        return None
    torch = runpy.run_path(str(Path(spec.origin).with_name("version.py")))
    version, cuda = torch["__version__"], torch["cuda"]
    release = version.partition("+")[0]
    names = {f"{card['name']} (compute capability {card.get('compute_cap')})" for card in cards}
    here = f"this machine has driver {cards[0]['driver_version']} and {', '.join(sorted(names))}"
    if cuda is None:
        return (
            f"torch {version} is built without CUDA; {here}; `pip install torch=={release} "
            f"--index-url {INDEX}/cu130` or set device: cpu"
        )
    major = int(cuda.partition(".")[0])
    oldest, least = NEEDS.get(major, (0, (0, 0)))
    # Newer than the driver where NVIDIA's forward compatibility package is installed.
    known = re.search(r"CUDA (?:UMD )?Version:\s*(\d+)", run.stdout)
    too_old = known is not None and int(known[1]) < major
    numbers = [card.get("compute_cap", "").split(".") for card in cards]
    if not too_old and all(
        tuple(map(int, n)) >= least for n in numbers if all(map(str.isdigit, n))
    ):
        return None
    return (
        f"torch {version} needs driver {oldest} and compute capability {least[0]}.{least[1]}; "
        f"{here}; update the driver, or `pip install torch=={release}+cu126 --index-url "
        f"{INDEX}/cu126` (driver 525, V100)"
    )
