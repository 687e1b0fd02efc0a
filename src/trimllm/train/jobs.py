"""A training job from files to a checkpoint, in one process or in several."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimllm.base import files
from trimllm.train.settings import TrainSettings

if TYPE_CHECKING:
    import torch
    from torch import nn

    from trimllm.train.team import Team


@dataclass(frozen=True)
class TrainJob:
    """What to train, on what, and by whom. All of it can be written as JSON.

    Attributes:
        recipe: "fine_tune" or "trim_epoch", a function of `trimllm.train.recipes`.
        checkpoint: directory of the model to start from.
        train, calibration: files of documents; calibration for "trim_epoch" only.
        scan: JSON file of an initial scan, if there is one.
        settings: of `TrainSettings`.
        arguments: further arguments of the recipe.
        storage_dtype: type of the weights that are written.
        device: "cpu" or "cuda".
        trust_remote_code: run code that lies beside the weights (in one process only).
        processes: that train together, each with a GPU of its own if the device is "cuda".
        threads: of each process.
        offload: hold weights, gradients and moments in host memory (several processes only).
        weights_on: where weights wait during a scan: "device", "host" or "disk".
        stamp: goes into the recipe's record as its provenance.
    """

    recipe: str
    checkpoint: str
    train: str
    settings: dict[str, Any]
    arguments: dict[str, Any] = field(default_factory=dict)
    calibration: str | None = None
    scan: str | None = None
    storage_dtype: str = "bfloat16"
    device: str = "cpu"
    trust_remote_code: bool = False
    processes: int = 1
    threads: int = 1
    offload: bool = False
    weights_on: str = "device"
    stamp: dict[str, str] = field(default_factory=dict)


def make_checkpoint(
    job: TrainJob,
    directory: str | Path,
    *,
    record_name: str,
    provenance: Callable[[], dict[str, Any]],
) -> dict[str, Any]:
    """Do a training job and write the checkpoint that comes of it: whole, or not at all.

    Args:
        record_name: file stem of the recipe's record beside the weights.
        provenance: called when the work is done, for manifest.json.

    Returns:
        The recipe's record, sealed: most checkpoints of a chain go, and their records stay.

    Raises:
        UserError: what can be mended, whichever process met it.
    """
    from trimllm import checkpoint
    from trimllm.train.team import ONE

    if job.processes == 1:
        import torch

        model, tokenizer, record = run(job, torch.device(job.device), ONE)
        record = files.sealed(record)
        checkpoint.save(
            model,
            tokenizer,
            directory,
            dtype=job.storage_dtype,
            record={record_name: record},
            provenance=provenance(),
        )
        return record
    return _in_processes(job, Path(directory), record_name, provenance)


def _in_processes(
    job: TrainJob, directory: Path, record_name: str, provenance: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """`make_checkpoint` in several processes: they write beside the directory, this publishes."""
    from trimllm.checkpoint import store
    from trimllm.train.together import run_processes
    from trimllm.train.worker import JOB, MODEL, RECORD

    store.check_directory(job.checkpoint, verify=True)
    temporary = files.new_sibling(directory)
    # Processes meet by a lock on a file, which network file systems need not know.
    folder = Path(tempfile.mkdtemp(prefix="trimllm-"))
    try:
        (folder / MODEL).symlink_to(temporary.resolve(), target_is_directory=True)
        files.write_json(folder / JOB, asdict(job))
        run_processes(folder, job.processes, job.threads)
        record = files.sealed(files.read_json(folder / RECORD))
        store.complete(temporary, directory, {record_name: record}, provenance())
        return record
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)


def run(
    job: TrainJob, device: torch.device, team: Team, *, verify: bool = True
) -> tuple[nn.Module, Any, dict[str, Any]]:
    """The part of a job that every process does: load and train.

    Returns:
        (model, sharded where there are several processes, tokenizer, the recipe's record)
    """
    from trimllm import checkpoint
    from trimllm.base.precision import compute_dtype
    from trimllm.data import read_documents
    from trimllm.scan import from_record
    from trimllm.train import recipes

    settings = TrainSettings(**job.settings)
    if team.size == 1 and job.weights_on == "device":
        model, tokenizer = checkpoint.load(
            job.checkpoint,
            device=device,
            trust_remote_code=job.trust_remote_code,
            verify=verify,
        )
    else:
        model, tokenizer = checkpoint.load_streamed(
            job.checkpoint,
            dtype=compute_dtype(settings.dtype, device),
            device=device,
            place=job.weights_on,
            verify=verify,
        )
    documents = [read_documents(path) for path in (job.train, job.calibration) if path]
    initial = from_record(files.read_json(job.scan)["scan"]) if job.scan else None
    recipe = getattr(recipes, job.recipe)
    record = recipe(
        model, tokenizer, *documents, settings, initial=initial, team=team, **job.arguments
    )
    if team.size > 1:
        record["processes"] = {"count": team.size, "offload": job.offload}
    if job.stamp:
        record["provenance"] = job.stamp
    return model, tokenizer, record
