"""One of the processes that train a pass together: `torchrun -m trimllm.train JOB.json [PARENT]`.

It ends when the process PARENT (else the one that started it) ends.
"""

import datetime
import os
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file

from trimllm import checkpoint
from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm.base.machine import peak_rss_bytes
from trimllm.base.precision import compute_dtype
from trimllm.data import read_documents
from trimllm.sublayers import drop, units
from trimllm.train.loop import run_pass
from trimllm.train.place import set_trainable
from trimllm.train.settings import TrainSettings
from trimllm.train.shard import shard, trained_weights
from trimllm.train.state import PassState
from trimllm.train.teacher import Teacher
from trimllm.train.trainer import PassJob

PATIENCE = datetime.timedelta(hours=1)
"""Longest wait for another process: reading a large model from a slow disk takes minutes."""


def device_of_rank(job: PassJob) -> torch.device:
    """This process's device. Raises `UserError` where there are fewer GPUs than processes."""
    if job.device == "cpu":
        return torch.device("cpu")
    count, seen = int(os.environ["LOCAL_WORLD_SIZE"]), torch.cuda.device_count()
    if seen < count:
        raise UserError(
            f"compute.processes = {count}, but this job sees {seen} GPUs; ask for as many "
            "processes as there are GPUs"
        )
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    torch.cuda.set_device(device)
    return device


def train_part(job: PassJob) -> None:
    """Train this process's part of a pass; the first process writes what comes of it."""
    torch.set_num_threads(job.threads)
    device = device_of_rank(job)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    backend = "gloo" if device.type == "cpu" else "cpu:gloo,cuda:nccl"
    dist.init_process_group(backend, timeout=PATIENCE)
    settings = TrainSettings(**job.settings)
    dtype = compute_dtype(settings.dtype, device)
    # The parent has verified the files.
    model, tokenizer = checkpoint.load_streamed(job.checkpoint, dtype=dtype, verify=False)
    stream = checkpoint.stream_of(model)
    assert stream is not None
    if job.trained is not None:
        stream.weights.overlay(load_file(job.trained))
    if job.units is not None:
        left = {tuple(unit) for unit in job.units}
        drop(model, [unit for unit in units(model) if unit not in left])
    set_trainable(model, job.blocks, settings.train_embeddings)
    if job.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    record = run_pass(
        shard(model, stream, dtype, device, job.offload),
        model,
        tokenizer,
        read_documents(job.documents),
        settings,
        device=device,
        epoch=job.epoch,
        epochs=job.epochs,
        label=job.label,
        teacher=None if job.teacher is None else Teacher.load(job.teacher),
        together=job.batches,
        state=None if job.state is None else PassState(Path(job.state[0]), *job.state[1:]),
    )
    weights = trained_weights(model, stream)
    processes: dict[str, Any] = {"count": dist.get_world_size(), "offload": job.offload}
    if device.type == "cuda":
        processes["peak_device_bytes"] = gathered(torch.cuda.max_memory_allocated())
    processes["peak_rss_bytes"] = gathered(peak_rss_bytes())
    if dist.get_rank() == 0:
        save_file(weights, job.output)
        facts = {"pass": asdict(record), "processes": processes}
        files.write_json(Path(job.output).with_suffix(".json"), facts)
    dist.barrier()
    dist.destroy_process_group()


def gathered(value: int) -> list[int]:
    """A number of every process, by rank."""
    values = [0] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def end_with(parent: int) -> None:
    """End this process when its parent has ended, in whatever way; `parent` is a process id."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    path = Path(sys.argv[1])
    end_with(int(sys.argv[2]) if len(sys.argv) > 2 else os.getppid())
    try:
        train_part(PassJob(**files.read_json(path)))
    except UserError as error:
        files.write_json(path.with_name("error.json"), str(error))
        sys.exit(1)
