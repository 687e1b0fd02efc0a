"""One model shared by several processes, one GPU each: FSDP over decoder layers.

Each process holds an equal share of every weight, gradient and moment. A layer is whole on a
device only while it runs: its shares are gathered before, and thrown away after. Every batch is
split by rows; the loss of a step is divided by the number of answer tokens of all processes, so
that a step is that of one process but for the order in which numbers are added.

Precision is that of one process: matrices of units are gathered in the type of matrix products, to
which autocast would round them, everything else in float32.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import fsdp
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch
from torch.distributed.tensor import distribute_tensor
from transformers import AutoConfig, GenerationConfig

from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm.base.precision import compute_dtype
from trimllm.checkpoint.stream import WeightFile, skeleton
from trimllm.sublayers.modeling_trimllm import decoder_of
from trimllm.train.batching import Tensors, answer_losses
from trimllm.train.model import Placed, set_trainable
from trimllm.train.processes import world
from trimllm.train.settings import TrainSettings


def launch(job: Path, count: int) -> None:
    """Run `python -m trimllm.train JOB` in `count` processes by torchrun's agent, which ends all
    when one fails.

    Raises:
        UserError: in one line, what a process raised.
        RuntimeError: a process failed in another way; its traceback was printed.
    """
    error_file = job.with_name("error.json")
    error_file.unlink(missing_ok=True)
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        rdzv_backend="c10d",
        # All processes are on this machine: nothing needs to find the name of its network.
        rdzv_endpoint="127.0.0.1:0",
        local_addr="127.0.0.1",
        max_restarts=0,
        # An interrupt stays Python's own. Processes end with this one in any case.
        signals_to_handle="SIGTERM",
        logs_specs=DefaultLogsSpecs(log_dir=str(job.with_name("logs"))),
    )
    try:
        elastic_launch(config, sys.executable)("-m", "trimllm.train", str(job), str(os.getpid()))
    except ChildFailedError as error:
        if error_file.is_file():
            raise UserError(files.read_json(error_file)) from None
        rank, failure = error.get_first_failure()
        code = failure.exitcode
        end = f"was killed by signal {-code}" if code < 0 else f"ended with status {code}"
        hint = "; was there enough memory?" if code == -9 else ""
        raise RuntimeError(f"training process {rank} of {count} {end}{hint}") from None


def join(device: str) -> torch.device:
    """Join the processes that torchrun started; returns this one's device."""
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    own = torch.device("cpu")
    if device != "cpu":
        count, seen = int(os.environ["LOCAL_WORLD_SIZE"]), torch.cuda.device_count()
        if seen < count:
            raise UserError(f"compute.processes = {count}, but this job sees {seen} GPUs")
        own = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(own)
    backend = "gloo" if device == "cpu" else "cpu:gloo,cuda:nccl"
    # The longest wait for another process: reading a large model from a slow disk takes minutes.
    dist.init_process_group(backend, timeout=timedelta(hours=1))
    return own


def empty(checkpoint: str | Path, device: torch.device) -> nn.Module:
    """The model of a checkpoint without weights. Each parameter knows its name in the file, which
    dropping units does not change."""
    config = AutoConfig.from_pretrained(checkpoint, local_files_only=True)
    model = skeleton(config, torch.float32, device)
    if Path(checkpoint, "generation_config.json").is_file():
        model.generation_config = GenerationConfig.from_pretrained(checkpoint)
    return model


class AnswerLoss(nn.Module):
    """Model and loss as one module, so that the head, which the loss calls, runs inside FSDP."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Tensors, **weights: Any) -> Tensor:
        return answer_losses(self.model, batch, **weights)


@contextlib.contextmanager
def sharded(
    model: nn.Module,
    blocks: Iterable[int] | None,
    settings: TrainSettings,
    *,
    checkpoint: str | Path,
    device: torch.device,
    offload: bool,
) -> Iterator[Placed]:
    """Share a model that `empty` made, as `trimllm.train.model.placed` does in one process; each
    process reads from disk what it keeps.

    Args:
        device: of this process.
        offload: keep shares, gradients and moments in host memory while they are not used.
    """
    set_trainable(model, blocks, settings.train_embeddings)
    dtype, weights = compute_dtype(settings.dtype, device), WeightFile(checkpoint)
    stored = {name: parameter.stored_as for name, parameter in model.named_parameters()}
    offload = offload and device.type != "cpu"
    root = _shard(model, dtype, device, offload)
    for name, old in [*model.named_parameters()]:
        module, _, leaf = name.rpartition(".")
        read = weights.read(stored[name], old.dtype).to(device)
        share = distribute_tensor(read, old.device_mesh, old.placements, src_data_rank=None)
        share = nn.Parameter(share.cpu() if offload else share, old.requires_grad)
        setattr(model.get_submodule(module), leaf, share)
    model.tie_weights()

    def whole(place: torch.device | str, kind: torch.dtype) -> nn.Module | None:
        options = StateDictOptions(True, True, ignore_frozen_params=True)
        trained = get_model_state_dict(model, options=options)
        if world()[0] > 0:
            return None
        state = {}
        for name in stored:  # what is frozen may have been rounded here
            tensor = trained[name] if name in trained else weights.read(stored[name], kind)
            state[name] = tensor.to(place, kind)
        ordinary = skeleton(model.config, kind, place)
        ordinary.load_state_dict(state, strict=False, assign=True)
        ordinary.tie_weights()
        ordinary.generation_config = model.generation_config
        return ordinary

    yield Placed(model, root, device, dtype, whole)


def _shard(model: nn.Module, dtype: torch.dtype, device: torch.device, offload: bool) -> AnswerLoss:
    """Let FSDP share the layers, their norms, and what is outside of layers."""
    policy = fsdp.CPUOffloadPolicy() if offload else fsdp.OffloadPolicy()
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    share = partial(fsdp.fully_shard, mesh=mesh, offload_policy=policy)
    products = fsdp.MixedPrecisionPolicy(dtype, torch.float32, cast_forward_inputs=False)
    exact = fsdp.MixedPrecisionPolicy(cast_forward_inputs=False)
    for layer in decoder_of(model).layers:
        linears = {module for module in layer.modules() if isinstance(module, nn.Linear)}
        matrices = [p for linear in linears for p in linear.parameters()]
        # They are gathered as one piece, of one type.
        if not any(p.requires_grad for p in matrices):
            for parameter in matrices:
                parameter.data = parameter.data.to(dtype)
        for module in layer.modules():
            if module._parameters and module not in linears:  # norms
                share(module, mp_policy=exact, reshard_after_forward=True)
        share(layer, mp_policy=products, reshard_after_forward=True)
    # What begins and ends the residual stream stays until the backward pass begins with it.
    return share(AnswerLoss(model), mp_policy=exact, reshard_after_forward=False)
