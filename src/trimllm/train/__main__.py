"""One of several training processes: `python -m trimllm.train FOLDER PARENT`, see `jobs`.

Each loads, trains and keeps a share of the model. A `UserError` ends up in a file of the folder.
"""

import datetime
import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm.base.machine import peak_rss_bytes
from trimllm.base.processes import end_with
from trimllm.checkpoint import store
from trimllm.train import jobs
from trimllm.train.parallel import Sharded

# Longest wait for another process: reading a large model from a slow disk takes minutes.
PATIENCE = datetime.timedelta(hours=1)


def take_part(folder: Path) -> None:
    """Do this process's part of the job in a folder; the first one writes what comes of it."""
    job = jobs.TrainJob(**files.read_json(folder / jobs.JOB))
    torch.set_num_threads(job.threads)
    device = torch.device("cpu")
    if job.device != "cpu":
        if torch.cuda.device_count() < job.processes:
            raise UserError(
                f"compute.processes = {job.processes}, but this job sees "
                f"{torch.cuda.device_count()} GPUs; ask for as many processes as there are GPUs"
            )
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group(
        "gloo" if device.type == "cpu" else "cpu:gloo,cuda:nccl", timeout=PATIENCE
    )
    team = Sharded(device, job.offload)
    model, tokenizer, record = jobs.run(job, device, team, verify=False)
    whole = team.unwrap(model, getattr(torch, job.storage_dtype))
    if device.type == "cuda":
        record["processes"]["peak_device_bytes"] = team.every(torch.cuda.max_memory_allocated())
    record["processes"]["peak_rss_bytes"] = team.every(peak_rss_bytes())
    if whole is not None:
        store.write(whole, tokenizer, folder / jobs.MODEL, dtype=job.storage_dtype)
        files.write_json(folder / jobs.RECORD, record)
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    folder, parent = Path(sys.argv[1]), int(sys.argv[2])
    end_with(parent)
    try:
        take_part(folder)
    except UserError as error:
        files.write_json(folder / jobs.ERROR, str(error))
        sys.exit(1)
