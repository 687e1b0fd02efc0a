"""One of several training processes: `python -m trimllm.train.worker FOLDER RANK`.

Started by `trimllm.train.together`, which describes the work in FOLDER/job.json. A `UserError` ends
up in FOLDER/error.json. The process ends when its standard input does, so none is left behind
when whoever started it is killed.
"""

from __future__ import annotations

import datetime
import os
import sys
from pathlib import Path

from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm.base.processes import end_with_standard_input

JOB, RECORD, ERROR, MODEL = "job.json", "record.json", "error.json", "model"
# Longest wait for another process: reading a large model from a slow disk takes minutes.
PATIENCE = datetime.timedelta(hours=1)


def work(folder: Path, rank: int) -> None:
    """Take part in the job that FOLDER describes; the first process writes what comes of it."""
    import torch
    import torch.distributed as dist

    from trimllm import checkpoint
    from trimllm.base.machine import peak_rss_bytes
    from trimllm.train.jobs import TrainJob, run
    from trimllm.train.parallel import Sharded

    job = TrainJob(**files.read_json(folder / JOB))
    device = torch.device("cpu")
    if job.device != "cpu":
        if torch.cuda.device_count() < job.processes:
            raise UserError(
                f"compute.processes = {job.processes}, but this job sees "
                f"{torch.cuda.device_count()} GPUs; ask for as many processes as there are GPUs"
            )
        device = torch.device("cuda", rank)
        torch.cuda.set_device(device)
    # All processes are on this machine: nothing needs to find the name of its network.
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group(
        "gloo" if device.type == "cpu" else "cpu:gloo,cuda:nccl",
        init_method=f"file://{folder / 'meeting'}",
        rank=rank,
        world_size=job.processes,
        timeout=PATIENCE,
    )
    team = Sharded(device, job.offload)
    model, tokenizer, record = run(job, device, team, verify=False)
    whole = team.unwrap(model, getattr(torch, job.storage_dtype))
    if device.type == "cuda":
        record["processes"]["peak_device_bytes"] = team.every(torch.cuda.max_memory_allocated())
    record["processes"]["peak_rss_bytes"] = team.every(peak_rss_bytes())
    if whole is not None:
        checkpoint.store.write(whole, tokenizer, folder / MODEL, dtype=job.storage_dtype)
        files.write_json(folder / RECORD, record)
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    end_with_standard_input()
    directory = Path(sys.argv[1])
    try:
        work(directory, int(sys.argv[2]))
    except UserError as error:
        files.write_json(directory / ERROR, str(error))
        sys.exit(1)
