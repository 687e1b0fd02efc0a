"""The processes that train one model together: start them, join them, exchange values."""

from __future__ import annotations

import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch
from torch.distributed.tensor import DTensor

from trimllm.base import files
from trimllm.base.errors import UserError


def launch(job: Path, count: int) -> None:
    """Run `python -m trimllm.train JOB` in `count` processes by torchrun's agent, which ends all
    when one fails; its `UserError` is raised here."""
    error_file = job.with_name("error.json")
    error_file.unlink(missing_ok=True)
    config = LaunchConfig(
        *(1, 1, count),  # nodes, and processes of each
        rdzv_backend="c10d",
        rdzv_endpoint="127.0.0.1:0",
        local_addr="127.0.0.1",  # nothing needs to find the name of this machine's network
        max_restarts=0,
        signals_to_handle="SIGTERM",  # an interrupt stays Python's own
        logs_specs=DefaultLogsSpecs(log_dir=str(job.with_name("logs"))),
    )
    try:
        elastic_launch(config, sys.executable)("-m", "trimllm.train", str(job))
    except ChildFailedError as error:
        if error_file.is_file():
            raise UserError(files.read_json(error_file)) from None
        rank, failure = error.get_first_failure()
        raise RuntimeError(
            f"training process {rank} of {count} ended with status {failure.exitcode} (-9: killed, "
            "often for lack of memory); its output is above"
        ) from None


def join(device: str) -> None:
    """Join the processes that `launch` started; each has a GPU of its own."""
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    if device != "cpu":
        count, seen = int(os.environ["LOCAL_WORLD_SIZE"]), torch.cuda.device_count()
        if seen < count:
            raise UserError(f"compute.processes = {count}, but this job sees {seen} GPUs")
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    backend = "gloo" if device == "cpu" else "cpu:gloo,cuda:nccl"
    # The longest wait for another process: reading a large model from a slow disk takes minutes.
    dist.init_process_group(backend, timeout=timedelta(hours=1))


def world() -> tuple[int, int]:
    """Rank of this process, and number of processes."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def local(tensor: Tensor) -> Tensor:
    """This process's part of a tensor."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def gathered(value: Any) -> list[Any]:
    """Every process's value, by rank; all processes call this together."""
    values = [value] * world()[1]
    if dist.is_initialized():
        dist.all_gather_object(values, value)
    return values
