"""A training job from files to a checkpoint, in this process or in several that train together.

Several (`trimllm.train.__main__`) are started by PyTorch's own launcher (torchrun's), whose agent,
in this process, ends all when one fails.
"""

from __future__ import annotations

import datetime
import inspect
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, Std
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from trimllm import checkpoint
from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm.base.machine import peak_rss_bytes
from trimllm.base.names import STATE_EVERY
from trimllm.base.precision import compute_dtype
from trimllm.base.rooms import named
from trimllm.checkpoint import store
from trimllm.data import read_documents
from trimllm.scanning import from_record
from trimllm.train.parallel import Sharded
from trimllm.train.resume import Saved
from trimllm.train.settings import TrainSettings
from trimllm.train.teacher import Teacher
from trimllm.train.team import Team

# Files in the folder through which processes and the one that started them speak.
JOB, RECORD, ERROR, MODEL = "job.json", "record.json", "error.json", "model"
# Longest wait for another process: reading a large model from a slow disk takes minutes.
PATIENCE = datetime.timedelta(hours=1)


@dataclass(frozen=True)
class TrainJob:
    """What to train, on what, and by whom."""

    # A function as `package.module:name`: "trimllm.train:fine_tune", "trimllm.trimming:trim_epoch".
    # It takes model, tokenizer, and by name train, settings, initial, team; and returns a record.
    recipe: str
    checkpoint: str  # directory of the model to start from
    train: str  # file of documents
    settings: dict[str, Any]  # of `TrainSettings`
    arguments: dict[str, Any] = field(default_factory=dict)  # further ones of the recipe
    calibration: str | None = None  # file of documents, where the recipe scans
    scan: str | None = None  # JSON file of an initial scan, if there is one
    held_back: str | None = None  # file of documents that say how good it is
    teacher: str | None = None  # file of what a teacher says (see `Teacher`)
    storage_dtype: str = "bfloat16"  # of the weights that are written
    # Whether weights that `storage_dtype` would round stay float32: a state to go on from.
    exact: bool = False
    device: str = "cpu"  # or "cuda"
    trust_remote_code: bool = False  # run code that lies beside the weights (in one process only)
    processes: int = 1  # that train together, each with a GPU of its own if the device is "cuda"
    batches: int = 1  # of an optimizer step that several processes run as one
    threads: int = 1  # of each
    offload: bool = False  # weights, gradients, moments in host memory (several processes only)
    weights_on: str = "device"  # where weights wait during a scan: "device", "host" or "disk"
    # Compute what happens inside of a block again in the backward pass, in place of keeping it.
    gradient_checkpointing: bool = False
    code: str = ""  # hash of the code, where a state of other code's is not to be gone on from
    # Folder of the state of a recipe that takes `saved`, and how often it is kept.
    passes: str | None = None
    save_every: float = STATE_EVERY


def make_checkpoint(
    job: TrainJob,
    directory: str | Path,
    *,
    record_name: str,
    provenance: Callable[[], dict[str, Any]],
    seal: Callable[[dict[str, Any]], dict[str, Any]] = lambda found: found,
) -> dict[str, Any]:
    """Do a training job and write the checkpoint that comes of it: whole, or not at all.

    Args:
        record_name: file stem of the recipe's record beside the weights.
        provenance: called when the work is done, for manifest.json.
        seal: makes of the recipe's record what is written.

    Returns:
        The recipe's record as it was written.

    Raises:
        UserError: what can be mended, whichever process met it.
        RuntimeError: a process failed in another way; its traceback was printed.
    """
    # Not among what is removed as left over by a killed writer.
    state = Path(directory).with_name(f".passes-{Path(directory).name}")
    job = replace(job, passes=str(state))
    with files.scratch(directory) as temporary:
        if job.processes == 1:
            model, tokenizer, record = run(job, torch.device(job.device), Team(lean=True))
            checkpoint.settle(model, _kept_as(job))  # what no pass has brought
            store.write(model, tokenizer, temporary, dtype=job.storage_dtype, exact=job.exact)
        else:
            record = _in_processes(job, temporary)
        record = seal(record)
        store.complete(temporary, directory, {record_name: record}, provenance())
        shutil.rmtree(state, ignore_errors=True)
        return record


def _in_processes(job: TrainJob, target: Path) -> dict[str, Any]:
    """Do a job in several processes, which write the weights to `target`; returns its record."""
    store.check_directory(job.checkpoint, verify=True)
    with tempfile.TemporaryDirectory(prefix="trimllm-") as name:
        folder = Path(name)
        (folder / MODEL).symlink_to(target.resolve(), target_is_directory=True)
        files.write_json(folder / JOB, asdict(job))
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=job.processes,
            run_id=folder.name,
            rdzv_backend="c10d",
            # All processes are on this machine: nothing needs to find the name of its network.
            rdzv_endpoint="127.0.0.1:0",
            local_addr="127.0.0.1",
            max_restarts=0,
            shutdown_timeout=10,
            # An interrupt stays Python's own. Processes end with this one in any case.
            signals_to_handle="SIGTERM",
            # What processes print goes where this one prints, marked with their number.
            logs_specs=DefaultLogsSpecs(log_dir=str(folder / "logs"), tee=Std.ALL),
            log_line_prefix_template="${rank}: ",
        )
        command = ("-m", "trimllm.train", str(folder), str(os.getpid()))
        try:
            elastic_launch(config, sys.executable)(*command)
        except ChildFailedError as error:
            if (folder / ERROR).is_file():
                raise UserError(files.read_json(folder / ERROR)) from None
            rank, failure = error.get_first_failure()
            code = failure.exitcode
            how = f"was killed by signal {-code}" if code < 0 else f"ended with status {code}"
            hint = "; was there enough memory?" if code == -9 else ""
            message = f"training process {rank} of {job.processes} {how}{hint}"
            raise RuntimeError(message) from None
        return files.read_json(folder / RECORD)


def _kept_as(job: TrainJob) -> torch.dtype:
    """In which type weights are brought together to be written."""
    return torch.float32 if job.exact else getattr(torch, job.storage_dtype)


def run(job: TrainJob, device: torch.device, team: Team) -> tuple[nn.Module, Any, dict[str, Any]]:
    """The part of a job that every process does: load and train.

    Returns:
        (model, sharded where there are several processes, tokenizer, the recipe's record)
    """
    settings = TrainSettings(**job.settings)
    # Several processes share what was verified before they were started.
    where: dict[str, Any] = {"device": device, "verify": team.size == 1}
    if team.size == 1 and job.weights_on == "device":
        where |= {"trust_remote_code": job.trust_remote_code}
        # Beside adapters the model's own weights are never finer than they are stored.
        where |= {"dtype": "auto" if job.arguments.get("lora") else "float32"}
        model, tokenizer = checkpoint.load(job.checkpoint, **where)
    else:
        where |= {"dtype": compute_dtype(settings.dtype, device), "place": job.weights_on}
        model, tokenizer = checkpoint.load_streamed(job.checkpoint, **where)
    if job.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    given: dict[str, Any] = {"train": read_documents(job.train), "settings": settings}
    if job.calibration:
        given["calibration"] = read_documents(job.calibration)
    if job.held_back:
        given["held_back"] = read_documents(job.held_back)
    if job.teacher:
        given["teacher"] = Teacher.load(job.teacher)
    recipe = named(job.recipe)
    if job.passes and "saved" in inspect.signature(recipe).parameters:
        given["saved"] = Saved(Path(job.passes), partial(_identity, job), job.save_every)
    given["initial"] = from_record(files.read_json(job.scan)["scan"]) if job.scan else None
    record = recipe(model, tokenizer, team=team, **given, **job.arguments)
    return model, tokenizer, record


def _identity(job: TrainJob) -> str:
    """What a job trains, on what: by the contents of its files."""
    source = Path(job.checkpoint)
    manifest = source / files.MANIFEST
    read: list[str | Path | None] = [manifest if manifest.is_file() else source / "config.json"]
    read += [job.train, job.calibration, job.scan, job.held_back, job.teacher]
    hashes = [files.sha256_of(path) for path in read if path]
    return files.content_hash(json.dumps([asdict(job), hashes], sort_keys=True))


def take_part(folder: Path) -> None:
    """Do this process's part of the job in a folder; the first one writes what comes of it."""
    job = TrainJob(**files.read_json(folder / JOB))
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
    backend = "gloo" if device.type == "cpu" else "cpu:gloo,cuda:nccl"
    dist.init_process_group(backend, timeout=PATIENCE)
    team = Sharded(device, job.offload, job.batches)
    model, tokenizer, record = run(job, device, team)
    whole = team.unwrap(model, _kept_as(job))
    record["processes"] = {"count": team.size, "offload": job.offload}
    if device.type == "cuda":
        record["processes"]["peak_device_bytes"] = team.every(torch.cuda.max_memory_allocated())
    record["processes"]["peak_rss_bytes"] = team.every(peak_rss_bytes())
    if whole is not None:
        store.write(whole, tokenizer, folder / MODEL, dtype=job.storage_dtype, exact=job.exact)
        files.write_json(folder / RECORD, record)
    dist.barrier()
    dist.destroy_process_group()
