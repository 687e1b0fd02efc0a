"""A training job, told in words that can be written as JSON, and what each of its processes does.

In several processes on one machine every one loads a share of the model and trains on its rows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from trimllm import checkpoint
from trimllm.base import files
from trimllm.base.precision import compute_dtype
from trimllm.base.rooms import named
from trimllm.data import read_documents
from trimllm.scan import from_record
from trimllm.train.settings import TrainSettings
from trimllm.train.team import Team


@dataclass(frozen=True)
class TrainJob:
    """What to train, on what, and by whom.

    Attributes:
        recipe: a function as `package.module:name`: "trimllm.train:fine_tune",
            "trimllm.train:drop_at_once", "trimllm.trim:trim_epoch". It takes model, tokenizer,
            documents, settings and the keywords `team` and `initial`, and returns a record.
        checkpoint: directory of the model to start from.
        train, calibration: files of documents; calibration where the recipe scans.
        scan: JSON file of an initial scan, if there is one.
        settings: of `TrainSettings`.
        arguments: further arguments of the recipe.
        storage_dtype: type of the weights that are written.
        device: "cpu" or "cuda".
        trust_remote_code: run code that lies beside the weights (in one process only).
        processes: that train together, each with a GPU of its own if the device is "cuda".
        threads: of each.
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


def run(
    job: TrainJob, device: torch.device, team: Team, *, verify: bool = True
) -> tuple[nn.Module, Any, dict[str, Any]]:
    """The part of a job that every process does: load and train.

    Returns:
        (model, sharded where there are several processes, tokenizer, the recipe's record)
    """
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
    arguments: dict[str, Any] = {"initial": None, "team": team} | job.arguments
    if job.calibration:
        arguments["calibration"] = read_documents(job.calibration)
    if job.scan:
        arguments["initial"] = from_record(files.read_json(job.scan)["scan"])
    documents = read_documents(job.train)
    record = named(job.recipe)(model, tokenizer, documents, settings, **arguments)
    if team.size > 1:
        record["processes"] = {"count": team.size, "offload": job.offload}
    if job.stamp:
        record["provenance"] = job.stamp
    return model, tokenizer, record
