"""A machine whose driver and torch are others: a program `nvidia-smi` and a package `torch`."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

NVIDIA_SMI = """#!{python} -SE
import json, sys

told = json.loads({told!r})
if told["failure"]:
    sys.exit(print(told["failure"]) or 9)
if len(sys.argv) == 1:
    print("| NVIDIA-SMI {driver}   Driver Version: {driver}   " + told["cuda"] + " |")
    sys.exit()
fields = sys.argv[1].removeprefix("--query-gpu=").split(",")
for number, gpu in enumerate(told["gpus"]):
    gpu |= dict(index=number, uuid="GPU-%08d-0" % number, driver_version="{driver}")
    for field in fields:
        if field not in gpu:
            sys.exit(print('Field "%s" is not a valid field to query.\\n' % field) or 2)
    print(", ".join(str(gpu[field]) for field in fields))
"""


def nvidia_smi(
    folder: Path,
    *gpus: Mapping[str, str],
    driver: str = "580.95.05",
    cuda: str = "CUDA Version: 13.0",
    failure: str = "",
) -> None:
    """Put the program into a folder: its version, what its head says of CUDA, and what it knows of
    each GPU; or what it says when it fails."""
    told = json.dumps({"gpus": gpus, "cuda": cuda, "failure": failure})
    path = folder / "nvidia-smi"
    path.write_text(NVIDIA_SMI.format(python=sys.executable, told=told, driver=driver))
    path.chmod(0o755)


def torch(folder: Path, version: str, cuda: str | None) -> None:
    """Put a torch into a folder that says what it was built for and cannot be imported."""
    package = folder / "torch"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('torch was imported')\n")
    text = (
        f"from typing import Optional\n__version__ = {version!r}\ncuda: Optional[str] = {cuda!r}\n"
    )
    (package / "version.py").write_text(text)


def card(name: str, capability: str | None = None, **more: str) -> dict[str, str]:
    """What the driver knows of a GPU; older ones do not know its capability."""
    known = {} if capability is None else {"compute_cap": capability}
    return {"name": name, **known, **more}
