"""Run training jobs as one of several processes: `ranks.py FOLDER RANK SIZE`.

FOLDER/jobs.json holds the jobs by name; the first process writes each result as a checkpoint
FOLDER/NAME with its record, and FOLDER/scans.json holds what every process scanned.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from models import word_tokenizer
from safetensors.torch import save_file
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor
from torch.nn import Linear

from trimllm import checkpoint
from trimllm.base import files
from trimllm.data import read_documents
from trimllm.sublayers.modeling_trimllm import decoder_of
from trimllm.train.batching import examples_of, tensors_of
from trimllm.train.jobs import TrainJob, run
from trimllm.train.loop import set_trainable
from trimllm.train.parallel import Sharded


def gradients_of(model: torch.nn.Module, job: TrainJob, team: Sharded, record: dict) -> dict:
    """Gradients of the trained model's loss on five documents, by name of the parameter. Notes how
    often the last layer runs for them."""
    set_trainable(model, None)
    model.train(job.gradient_checkpointing)
    record["runs"] = 0

    def count(*_: object) -> None:
        record["runs"] += 1

    counted = next(m for m in decoder_of(model).layers[-1].modules() if isinstance(m, Linear))
    counting = counted.register_forward_hook(count)
    batch = examples_of(word_tokenizer(), read_documents(job.train))[:5]
    mine, factor = team.share(batch)
    loss = team.root(tensors_of(mine, 0, "cpu")).sum() * factor
    loss.backward()
    counting.remove()
    model.eval()
    named = model.named_parameters()
    return {name: p.grad.full_tensor() for name, p in named if p.grad is not None}


def types_of(model: torch.nn.Module) -> dict[str, list[str]]:
    """Types in which weights rest, and in which FSDP gathers them: of layers, and of the rest."""
    layers = decoder_of(model).layers
    assert all(isinstance(layer, FSDPModule) for layer in layers)
    in_layers = {name for name, p in model.named_parameters() if "layers." in name}
    resting = {name: str(p.dtype) for name, p in model.named_parameters()}
    gathered = {}
    for layer in layers:
        layer.unshard()
        gathered |= {id(p): str(p.dtype) for p in layer.parameters()}
        assert not any(isinstance(p, DTensor) for p in layer.parameters())
        layer.reshard()
    return {
        "resting": sorted({resting[name] for name in in_layers}),
        "gathered": sorted(set(gathered.values())),
        "outside": sorted({resting[name] for name in resting.keys() - in_layers}),
    }


def main(folder: Path, rank: int, size: int) -> None:
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group(
        "gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=size
    )
    decisions = {}
    for name, content in files.read_json(folder / "jobs.json").items():
        job = TrainJob(**content)
        team = Sharded(torch.device("cpu"), job.offload, job.batches)
        model, tokenizer, record = run(job, torch.device("cpu"), team)
        held = sum(p.to_local().numel() for p in model.parameters())
        record["share"] = team.every(held)
        record["types"] = types_of(model)
        decisions[name] = {key: record.get(key) for key in ("scan", "units_dropped")}
        if (decisions[name]["scan"] or {}).get("seconds"):
            decisions[name]["scan"].pop("seconds")
        gradients = {} if job.scan else gradients_of(model, job, team, record)
        whole = team.unwrap(model, torch.float32)
        if whole is not None:
            checkpoint.save(whole, tokenizer, folder / name, record={"record": record})
            save_file(gradients, folder / f"{name}.gradients")
    files.write_json(folder / f"decisions-{rank}.json", decisions)
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
