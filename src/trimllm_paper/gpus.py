"""GPUs: what each kind has, which are here, and which a job may use."""

import fcntl
import os
import re
import tempfile
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO, Any, NamedTuple

from trimllm.base import machine
from trimllm.base.errors import UserError


class Kind(NamedTuple):
    """A GPU, by NVIDIA's data sheet."""

    name: str  # regular expression of the driver's name of it
    gib: float  # memory
    rate: float  # dense 16-bit operations a second
    bandwidth: float  # bytes a second of its memory


KINDS = {
    "A100-SXM4-80GB": Kind("A100-SXM", 80, 312e12, 2039e9),
    "A100-PCIe-80GB": Kind("A100.*PCI", 80, 312e12, 1935e9),
    "A100-SXM4-40GB": Kind("A100-SXM", 40, 312e12, 1555e9),
    "A100-PCIe-40GB": Kind("A100.*PCI", 40, 312e12, 1555e9),
    "H100-SXM5-80GB": Kind("H100(?!.*PCI)", 80, 989e12, 3350e9),
    "H100-PCIe-80GB": Kind("H100.*PCI", 80, 756e12, 2039e9),
    "H200-141GB": Kind("H200", 141, 989e12, 4800e9),
    "L40S-48GB": Kind("L40S", 48, 362e12, 864e9),
    "RTX-3090-24GB": Kind("RTX 3090$", 24, 71e12, 936e9),
    "RTX-4090-24GB": Kind("RTX 4090$", 24, 165e12, 1008e9),
}
ASSUMED = "A100-SXM4-80GB"
LOCKS = Path(tempfile.gettempdir(), f"trimllm-gpus-{os.getuid()}")  # of GPUs that jobs have
_claimed: list[IO[str]] = []  # open, and so locked, as long as this process lives


def kind_named(name: str, gib: float) -> str | None:
    """The kind of a GPU, by the driver's name of it and its memory; None if it is not in KINDS."""
    for known, kind in KINDS.items():
        if re.search(kind.name, name) and abs(gib / kind.gib - 1) < 0.1:
            return known
    return None


@cache
def here() -> tuple[tuple[str, float], ...]:
    """Name and GiB of every GPU that jobs on this machine may use, by the driver."""
    gpus = machine.gpus("name", "memory.total")
    sizes = ((gpu["name"], gpu["memory.total"].partition(" ")[0]) for gpu in gpus)
    return tuple((name, float(mib) / 1024) for name, mib in sizes if mib.isdigit())


def kind_of(config: Any) -> tuple[str, Kind]:
    """Name and data of the GPUs of a configuration's jobs: `compute.gpu`, or those here by their
    driver, or without either the paper's A100."""
    named = config.compute.gpu
    if named is None and here():
        name, gib = min(here(), key=lambda gpu: gpu[1])
        known = kind_named(name, gib)
        return known or name, KINDS[known] if known else KINDS[ASSUMED]._replace(gib=gib)
    return named or ASSUMED, KINDS[named or ASSUMED]


def gpus_present() -> int:
    """GPUs of this machine, without asking their driver."""
    return len(list(Path("/dev").glob("nvidia[0-9]*")))


def uses_gpu(config: Any) -> bool:
    """Whether jobs run on a GPU; does not query the driver."""
    device = config.compute.device
    return device == "cuda" or (device == "auto" and gpus_present() > 0)


def visible() -> list[str]:
    """Indices (or names) of the GPUs that this process may use."""
    every = ",".join(map(str, range(gpus_present())))
    names = os.environ.get("CUDA_VISIBLE_DEVICES", every).split(",")
    return [name.strip() for name in names if name.strip()]


def take(count: int) -> None:
    """Take GPUs for this process; `UserError` where there are fewer or torch cannot use them."""
    submitted = any(name in os.environ for name in ("SLURM_JOB_ID", "PBS_JOBID", "JOB_ID"))
    if not submitted and visible():  # a cluster gives its jobs their GPUs
        claim(count)
    require_torch()


def require_torch() -> None:
    """Raise `UserError` if torch cannot compute on the GPU: its driver, its kind, torch's build."""
    import torch  # planning reads this module

    try:
        torch.zeros(1, device="cuda") + 1
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().partition("\n")[0]
        remedy = "install another build of torch (docs/reproduce.md) or set compute.device to cpu"
        problem = f"torch {torch.__version__} cannot use this machine's GPU ({reason})"
        raise UserError(f"{problem}; {remedy}") from None


def claim(count: int, folder: Path = LOCKS, wait: float = 1.0) -> list[str]:
    """Take GPUs here that no other job has, as CUDA_VISIBLE_DEVICES. Snakemake counts the GPUs of
    local jobs and does not say which: a locked file marks each, until this process ends."""
    names = visible()
    if count > len(names):
        raise UserError(f"this job needs {count} GPUs, and {len(names)} are visible here")
    folder.mkdir(parents=True, exist_ok=True)
    while True:
        mine: dict[str, IO[str]] = {}
        for name in names:
            stream = (folder / f"gpu-{name}.lock").open("w")
            with suppress(BlockingIOError):
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                mine[name] = stream
            if len(mine) == count:
                _claimed.extend(mine.values())
                os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(mine)
                return [*mine]
        for held in mine.values():  # too few are free: let others have them
            held.close()
        time.sleep(wait)
