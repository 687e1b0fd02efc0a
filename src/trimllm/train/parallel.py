"""One model shared by several processes, one GPU each: FSDP over decoder layers.

Each process holds an equal share of every weight, gradient and moment. A layer is whole on a
device only while it runs. Every batch is split by rows; the loss of a step is divided by the number
of answer tokens of all processes, so that a step is that of one process but for the order in which
numbers are added.

Precision is that of one process: matrices of units are gathered in the type of matrix products, to
which autocast would round them, everything else in float32.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed import fsdp
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import distribute_tensor

from trimllm.base.precision import compute_dtype
from trimllm.checkpoint.stream import skeleton, stream_of
from trimllm.sublayers import device_of
from trimllm.sublayers.modeling_trimllm import decoder_of
from trimllm.train.batching import TrainBatch, answer_loss
from trimllm.train.model import Placed, set_trainable
from trimllm.train.processes import world
from trimllm.train.settings import TrainSettings


class AnswerLoss(nn.Module):
    """Model and loss as one module, so that the head, which the loss calls, runs inside FSDP."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: TrainBatch, *arguments: Any, **options: Any) -> Tensor:
        return answer_loss(self.model, inputs, *arguments, **options)


@contextlib.contextmanager
def sharded(
    model: nn.Module, blocks: Iterable[int] | None, settings: TrainSettings, *_: Any, offload: bool
) -> Iterator[Placed]:
    """Share a streamed model, as `placed` does it in one process; each reads what it keeps.

    Args:
        offload: keep shares, gradients and moments in host memory while they are not used.
    """
    set_trainable(model, blocks, settings.train_embeddings)
    device = device_of(model)
    weights: Any = stream_of(model)
    dtype = compute_dtype(settings.dtype, device)
    for hook in weights.hooks:
        hook.remove()
    model.float()
    model.stored_as = {name: p.stored_as for name, p in model.named_parameters()}
    offload = offload and device.type != "cpu"
    root = _shard(model, dtype, device, offload)
    for name, old in [*model.named_parameters()]:
        module, _, leaf = name.rpartition(".")
        read = weights.read(model.stored_as[name], old.dtype).to(device)
        share = distribute_tensor(read, old.device_mesh, old.placements, src_data_rank=None)
        share = nn.Parameter(share.cpu() if offload else share, old.requires_grad)
        setattr(model.get_submodule(module), leaf, share)
    model.tie_weights()
    yield Placed(model, root, device, dtype)


def _shard(model: nn.Module, dtype: torch.dtype, device: torch.device, offload: bool) -> AnswerLoss:
    """Let FSDP share the layers, their norms, and what is outside of layers."""
    policy = fsdp.CPUOffloadPolicy() if offload else fsdp.OffloadPolicy()
    mesh = init_device_mesh(device.type, (world()[1],))
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


def whole(model: nn.Module, device: torch.device | str, dtype: torch.dtype) -> nn.Module | None:
    """An ordinary model of a shared one's weights, to score or save; None in all but the first
    process. Without other processes the model itself."""
    rank, size = world()
    if size == 1:
        return model
    options = StateDictOptions(True, True, ignore_frozen_params=True)
    trained = get_model_state_dict(model, options=options)
    if rank > 0:
        return None
    state = {}
    weights: Any = stream_of(model)
    for name, stored in model.stored_as.items():  # what is frozen may have been rounded here
        tensor = trained[name] if name in trained else weights.read(stored, dtype)
        state[name] = tensor.to(device, dtype)
    ordinary = skeleton(model.config, dtype, device)
    ordinary.load_state_dict(state, strict=False, assign=True)
    ordinary.tie_weights()
    ordinary.generation_config = model.generation_config
    return ordinary
