"""A process of a training job: `torchrun -m trimllm.train JOB.json`. It ends with its parent."""

import os
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm.train.jobs import TrainJob, train_share


def join(path: Path) -> None:
    """Do this process's share of a job that `make_checkpoint` wrote, by a GPU of its own."""
    content = files.read_json(path)
    job = TrainJob(**content["job"])
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    if job.device != "cpu":
        if (seen := torch.cuda.device_count()) < job.processes:
            raise UserError(f"compute.processes = {job.processes}, but this job sees {seen} GPUs")
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    backend = "gloo" if job.device == "cpu" else "cpu:gloo,cuda:nccl"
    # The longest wait for another process: reading a large model from a slow disk takes minutes.
    dist.init_process_group(backend, timeout=timedelta(hours=1))
    train_share(job, Path(content["folder"]), Path(content["output"]))
    dist.barrier()
    dist.destroy_process_group()


def watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=watch, args=[os.getppid()], daemon=True).start()
    try:
        join(job := Path(sys.argv[1]))
    except UserError as error:
        files.write_json(job.with_name("error.json"), str(error))
        sys.exit(1)
