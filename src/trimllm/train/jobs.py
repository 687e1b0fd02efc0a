"""A training job from files to a checkpoint."""

from __future__ import annotations

import inspect
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from trimllm import checkpoint
from trimllm.base import files
from trimllm.base.names import STATE_EVERY, imported
from trimllm.base.precision import compute_dtype
from trimllm.checkpoint import store
from trimllm.data import read_documents
from trimllm.scanning import from_record
from trimllm.train.settings import TrainSettings
from trimllm.train.state import RunState
from trimllm.train.teacher import Teacher
from trimllm.train.trainer import Torchrun, Trainer


@dataclass(frozen=True)
class TrainJob:
    """What to train, on what, and by how many processes."""

    # A function as `package.module:name`: "trimllm.train:fine_tune", "trimllm.trimming:trim_epoch".
    # It takes model, tokenizer, and by name train, settings, initial, trainer; returns a record.
    recipe: str
    checkpoint: str  # directory of the model to start from
    train: str  # file of documents
    settings: dict[str, Any]  # of `TrainSettings`
    arguments: dict[str, Any] = field(default_factory=dict)  # further ones of the recipe
    calibration: str | None = None  # file of documents, where the recipe scans
    scan: str | None = None  # JSON file of an initial scan, if there is one
    held_back: str | None = None  # file of documents to score
    teacher: str | None = None  # file of a `Teacher`
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
    code: str = ""  # hash of the code: a state that other code left is not gone on from
    save_every: float = STATE_EVERY  # seconds between two states inside a pass


def make_checkpoint(
    job: TrainJob,
    directory: str | Path,
    *,
    record_name: str,
    provenance: Callable[[], dict[str, Any]],
    seal: Callable[[dict[str, Any]], dict[str, Any]] = dict,
) -> dict[str, Any]:
    """Do a training job and write its checkpoint atomically.

    Args:
        record_name: file stem of the recipe's record beside the weights.
        provenance: called when the work is done, for manifest.json.
        seal: makes of the recipe's record what is written.

    Returns:
        The recipe's record, sealed: most checkpoints of a chain go, and their records stay.

    Raises:
        UserError: what the user can mend, whichever process met it.
        RuntimeError: a process failed in another way; its traceback was printed.
    """
    # Not among what is removed as left over by a killed writer.
    folder = Path(directory).with_name(f".passes-{Path(directory).name}")
    with files.scratch(directory) as temporary:
        model, tokenizer, record = run(job, folder)
        checkpoint.materialize(
            model, torch.float32 if job.exact else getattr(torch, job.storage_dtype)
        )
        record = seal(record)
        store.write(model, tokenizer, temporary, dtype=job.storage_dtype, exact=job.exact)
        store.complete(temporary, directory, {record_name: record}, provenance())
    shutil.rmtree(folder, ignore_errors=True)
    return record


def run(job: TrainJob, folder: Path) -> tuple[nn.Module, Any, dict[str, Any]]:
    """Load a job's model and do its recipe; returns (model, tokenizer, the recipe's record).

    Args:
        folder: of the state of a training, and of files that several processes exchange.
    """
    torch.set_num_threads(job.threads)
    settings, device = TrainSettings(**job.settings), torch.device(job.device)
    product = compute_dtype(settings.dtype, device)
    if job.processes == 1 and job.weights_on == "device":
        # Beside adapters the model's own weights need not be finer than they are used.
        model, tokenizer = checkpoint.load(
            job.checkpoint,
            dtype=product if job.arguments.get("lora") else "float32",
            device=device,
            trust_remote_code=job.trust_remote_code,
        )
    else:
        model, tokenizer = checkpoint.load_streamed(
            job.checkpoint, dtype=product, device=device, place=job.weights_on
        )
    trainer = _trainer(job, folder / "processes")
    if job.gradient_checkpointing and job.processes == 1:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    inputs: dict[str, Any] = {"train": read_documents(job.train), "settings": settings}
    if job.calibration:
        inputs["calibration"] = read_documents(job.calibration)
    if job.held_back:
        inputs["held_back"] = read_documents(job.held_back)
    if job.teacher:
        inputs["teacher"] = Teacher.load(job.teacher)
    recipe = imported(job.recipe)
    if "state" in inspect.signature(recipe).parameters:
        inputs["state"] = RunState(folder, lambda: _identity(job), job.save_every)
    inputs["initial"] = from_record(files.read_json(job.scan)["scan"]) if job.scan else None
    record = recipe(model, tokenizer, trainer=trainer, **inputs, **job.arguments)
    if isinstance(trainer, Torchrun) and trainer.facts:
        record["processes"] = trainer.facts
    return model, tokenizer, record


def _trainer(job: TrainJob, folder: Path) -> Trainer:
    if job.processes == 1:
        return Trainer(lean=True)
    names = ("device", "threads", "batches", "offload", "gradient_checkpointing")
    options = {name: getattr(job, name) for name in names}
    shutil.rmtree(folder, ignore_errors=True)
    return Torchrun(
        processes=job.processes, checkpoint=job.checkpoint, folder=folder, options=options
    )


def _identity(job: TrainJob) -> str:
    """Hash of what a job trains, on what: of the contents of its files."""
    source = Path(job.checkpoint)
    manifest = source / files.MANIFEST
    read: list[str | Path | None] = [manifest if manifest.is_file() else source / "config.json"]
    read += [job.train, job.calibration, job.scan, job.held_back, job.teacher]
    hashes = [files.sha256_of(path) for path in read if path]
    return files.content_hash(json.dumps([asdict(job), hashes], sort_keys=True))
