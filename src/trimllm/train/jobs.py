"""A training job from files to a checkpoint, in this process or in several."""

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

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
from trimllm.train.loop import fine_tune
from trimllm.train.model import whole
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
    # scan; before training go `dropped` sublayers by `rule` (Sajjad et al. 2023), or those named by
    # `units`. Of an epoch of a chain: see `trimllm.trimming.make_epoch`.
    arguments: dict[str, Any] = field(default_factory=dict)
    calibration: str | None = None  # file of documents, where the job scans
    scan: str | None = None  # JSON file of a scan of the model, all its sublayers left
    held_back: str | None = None  # file of documents to score
    teacher: str | None = None  # file of a `Teacher`
    storage_dtype: str = "bfloat16"  # of the weights that are written
    exact: bool = False  # weights that `storage_dtype` would round stay float32, to resume from
    device: str = "cpu"  # or "cuda"
    trust_remote_code: bool = False  # run code that lies beside the weights (in one process only)
    processes: int = 1  # that train together, each with a GPU of its own if the device is "cuda"
    threads: int = 1  # of each
    offload: bool = False  # weights, gradients, moments in host memory (several processes only)
    weights_on: str = "device"  # where weights wait during a scan: "device", "host" or "disk"
    gradient_checkpointing: bool = False  # compute activations again in the backward pass
    code: str = ""  # hash of the code: a state that other code left is not resumed
    save_every: float = STATE_EVERY  # seconds between two states inside a pass

    def load(self) -> tuple[nn.Module, Any]:
        """Model and tokenizer in this process."""
        torch.set_num_threads(self.threads)
        product = compute_dtype(TrainSettings(**self.settings).dtype, self.device)
        place: dict[str, Any] = {"device": self.device, "dtype": product}
        if self.weights_on != "device":
            return checkpoint.load_streamed(self.checkpoint, place=self.weights_on, **place)
        # Weights that this process does not train need not be finer than they are used.
        if self.processes == 1 and not self.arguments.get("lora"):
            place["dtype"] = torch.float32
        return checkpoint.load(self.checkpoint, trust_remote_code=self.trust_remote_code, **place)

    def identity(self) -> str:
        """Hash of what the job trains, on what: of the contents of its files."""
        read = [self.train, self.calibration, self.scan, self.held_back, self.teacher]
        read += sorted(map(str, Path(self.checkpoint).glob("*.json")))  # the manifest has hashes
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
    """Fine-tune as a job says and write its checkpoint atomically; returns the training's record as
    `seal` makes it and as it lies beside the weights, `record_name`.json. `provenance` is called
    at the end, for manifest.json; `loaded`: the job's model and tokenizer, if they are loaded."""
    # Not among what is removed as left over by a killed writer.
    folder = Path(directory).with_name(f".passes-{Path(directory).name}")
    with files.scratch(directory) as output:
        if job.processes == 1:
            train_share(job, folder, output, loaded)
        else:
            content = {"job": asdict(job), "folder": str(folder), "output": str(output)}
            files.write_json(folder / "job.json", content)
            launch(folder / "job.json", job.processes)
        record = seal(files.read_json(folder / "record.json"))
        store.complete(output, directory, {record_name: record}, provenance())
    shutil.rmtree(folder, ignore_errors=True)
    return record


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


def train_share(
    job: TrainJob, folder: Path, output: Path, loaded: tuple[nn.Module, Any] | None = None
) -> None:
    """Train, with the other processes of the job; the first one writes the model into `output`, the
    record into `folder`, where the state is."""
    several = job.processes > 1
    # Of a shared model each process reads its part.
    model, tokenizer = loaded or (replace(job, weights_on="disk") if several else job).load()
    settings, options = TrainSettings(**job.settings), dict(job.arguments)
    facts: dict[str, Any] = {"ratio": options.pop("ratio", None)}
    gone, criterion = options.pop("units", []), options.pop("criterion", PAPER_CRITERION)
    if rule := options.pop("rule", None):
        gone = choose_by_rule(rule, units(model), options.pop("dropped"), settings.seed).dropped
        facts |= {"rule": rule, "units_dropped": [list(unit) for unit in gone]}
    if gone and not loaded:  # a loaded model lacks them already
        drop(model, gone)
    if job.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    if facts["ratio"] is not None and options.get("trainable") is None:
        initial = from_record(files.read_json(job.scan or "")["scan"])
        left = {unit.block for unit in units(model)}
        options["trainable"] = trainable_blocks(initial, criterion, facts["ratio"], left)
    options |= {"train": read_documents(job.train), "settings": settings, "offload": job.offload}
    if job.held_back:
        options["held_back"] = read_documents(job.held_back)
    if job.teacher:
        options["teacher"] = Teacher.load(job.teacher)
    options["state"] = State(folder, job.identity(), job.save_every)
    record = fine_tune(model, tokenizer, **options) | facts
    if several:
        record["processes"] = {"count": job.processes, "offload": job.offload}
    if (ordinary := whole(model, "cpu", torch.float32)) is not None:
        store.write(ordinary, tokenizer, output, dtype=job.storage_dtype, exact=job.exact)
        files.write_json(folder / "record.json", record)
