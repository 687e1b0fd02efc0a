"""A training job from files to a checkpoint."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from trimllm import checkpoint
from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm.base.names import PAPER_CRITERION, STATE_EVERY
from trimllm.base.precision import compute_dtype
from trimllm.checkpoint import store
from trimllm.data import read_documents
from trimllm.scanning import from_record
from trimllm.select import choose_by_rule, trainable_blocks
from trimllm.sublayers import drop, units
from trimllm.train import parallel
from trimllm.train.fine_tune import fine_tune, train_passes
from trimllm.train.model import size_of
from trimllm.train.processes import world
from trimllm.train.settings import TrainSettings
from trimllm.train.state import State
from trimllm.train.teacher import Teacher


@dataclass(frozen=True)
class TrainJob:
    """What to train, on what, and by how many processes."""

    checkpoint: str  # directory of the model to start from
    train: str  # file of documents
    settings: dict[str, Any]  # of `TrainSettings`
    # Of `fine_tune`; or in place of `trainable` a share `ratio` of blocks, by `criterion` from the
    # scan; and by `rule` (Sajjad et al. 2023) go `dropped` units before training, or those named
    # by `units`. Of an epoch of a chain: see `trimllm.trimming.make_epoch`.
    arguments: dict[str, Any] = field(default_factory=dict)
    calibration: str | None = None  # file of documents, where the job scans
    scan: str | None = None  # JSON file of a scan of the model, all its units left
    held_back: str | None = None  # file of documents to score
    teacher: str | None = None  # file of a `Teacher`
    storage_dtype: str = "bfloat16"  # of the weights that are written
    # Whether weights that `storage_dtype` would round stay float32: a state to go on from.
    exact: bool = False
    device: str = "cpu"  # or "cuda"
    trust_remote_code: bool = False  # run code that lies beside the weights (in one process only)
    processes: int = 1  # that train together, each with a GPU of its own if the device is "cuda"
    threads: int = 1  # of each
    offload: bool = False  # weights, gradients, moments in host memory (several processes only)
    weights_on: str = "device"  # where weights wait during a scan: "device", "host" or "disk"
    # Compute what happens inside of a block again in the backward pass, in place of keeping it.
    gradient_checkpointing: bool = False
    code: str = ""  # hash of the code: a state that other code left is not gone on from
    save_every: float = STATE_EVERY  # seconds between two states inside a pass

    def load(self) -> tuple[nn.Module, Any]:
        """Model and tokenizer in this process; on another place than the device a streamed one."""
        torch.set_num_threads(self.threads)
        product = compute_dtype(TrainSettings(**self.settings).dtype, self.device)
        if self.weights_on != "device":
            return checkpoint.load_streamed(
                self.checkpoint, dtype=product, device=self.device, place=self.weights_on
            )
        return checkpoint.load(
            self.checkpoint,
            # Weights that this process does not train need not be finer than they are used.
            dtype=product if self.arguments.get("lora") or self.processes > 1 else "float32",
            device=self.device,
            trust_remote_code=self.trust_remote_code,
        )

    def identity(self) -> str:
        """Hash of what the job trains, on what: of the contents of its files."""
        manifest = Path(self.checkpoint, files.MANIFEST)
        read = [self.train, self.calibration, self.scan, self.held_back, self.teacher]
        read.append(str(manifest if manifest.is_file() else manifest.with_name("config.json")))
        hashes = [files.sha256_of(path) for path in read if path]
        return files.content_hash(json.dumps([asdict(self), hashes], sort_keys=True))


def make_checkpoint(
    job: TrainJob,
    directory: str | Path,
    *,
    record_name: str,
    provenance: Callable[[], dict[str, Any]],
    seal: Callable[[dict[str, Any]], dict[str, Any]] = dict,
    loaded: tuple[nn.Module, Any] | None = None,
) -> dict[str, Any]:
    """Fine-tune as a job says and write its checkpoint atomically.

    Args:
        record_name: file stem of the training's record beside the weights.
        provenance: called when the work is done, for manifest.json.
        seal: makes of the training's record what is written.
        loaded: the job's model and tokenizer, where this process has them.

    Returns:
        The record, sealed: most checkpoints of a chain go, and their records stay.

    Raises:
        UserError: what the user can mend, whichever process met it.
        RuntimeError: a process failed in another way; its traceback was printed.
    """
    # Not among what is removed as left over by a killed writer.
    folder = Path(directory).with_name(f".passes-{Path(directory).name}")
    with files.scratch(directory) as output:
        if job.processes == 1:
            model, tokenizer = loaded or job.load()
            options, facts = _prepare(job, model, folder)
            record = fine_tune(model, tokenizer, **options) | facts
            store.write(model, tokenizer, output, dtype=job.storage_dtype, exact=job.exact)
        else:
            store.check_directory(job.checkpoint, verify=True)
            content = {"job": asdict(job), "output": str(output), "folder": str(folder)}
            files.write_json(folder / "job.json", content)
            parallel.launch(folder / "job.json", job.processes)
            record = files.read_json(folder / "record.json")
        record = seal(record)
        store.complete(output, directory, {record_name: record}, provenance())
    shutil.rmtree(folder, ignore_errors=True)
    return record


def train_share(path: Path) -> None:
    """Do this process's share of a job that `make_checkpoint` wrote; the first process writes the
    checkpoint and its record."""
    content = files.read_json(path)
    job, folder = TrainJob(**content["job"]), Path(content["folder"])
    torch.set_num_threads(job.threads)
    device = parallel.join(job.device)
    model = parallel.empty(job.checkpoint, device)
    tokenizer = checkpoint.load_tokenizer(job.checkpoint)
    options, facts = _prepare(job, model, folder)
    if options.pop("lora", None):
        raise UserError("LoRA trains in one process; leave out processes or LoRA")
    place = {"checkpoint": job.checkpoint, "device": device, "offload": job.offload}
    with parallel.sharded(model, options["trainable"], options["settings"], **place) as placed:
        record = train_passes(placed, tokenizer, **options)
        whole = placed.whole("cpu", torch.float32)
    if whole is not None:
        output = Path(content["output"])
        store.write(whole, tokenizer, output, dtype=job.storage_dtype, exact=job.exact)
        facts["processes"] = {"count": world()[1], "offload": job.offload}
        files.write_json(folder / "record.json", record | size_of(whole) | facts)
    dist.barrier()
    dist.destroy_process_group()


def _prepare(
    job: TrainJob, model: nn.Module, folder: Path
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Drop what goes before training, in place.

    Returns the arguments of `fine_tune`, and what its record lacks.
    """
    options, settings = dict(job.arguments), TrainSettings(**job.settings)
    rule, count = options.pop("rule", None), options.pop("dropped", 0)
    ratio, criterion = options.pop("ratio", None), options.pop("criterion", PAPER_CRITERION)
    facts: dict[str, Any] = {"ratio": ratio}
    gone = options.pop("units", [])
    if rule:
        gone = choose_by_rule(rule, units(model), count, settings.seed).dropped
        facts |= {"rule": rule, "units_dropped": [list(unit) for unit in gone]}
    if gone:
        drop(model, gone)
    if job.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    blocks = options.pop("trainable", None)
    if ratio is not None and blocks is None:
        initial = from_record(files.read_json(job.scan or "")["scan"])
        blocks = trainable_blocks(initial, criterion, ratio, {u.block for u in units(model)})
    state = State(folder, job.identity(), job.save_every)
    options |= {"settings": settings, "trainable": blocks, "state": state}
    options["train"] = read_documents(job.train)
    if job.held_back:
        options["held_back"] = read_documents(job.held_back)
    if job.teacher:
        options["teacher"] = Teacher.load(job.teacher)
    return options, facts
