"""One model shared by several processes, one GPU each: FSDP over decoder layers.

Each process holds an equal share of every weight, gradient and moment. A layer is whole on a
device only while it runs: its shares are gathered before, and thrown away after. Every batch is
split by rows; the loss of a step is divided by the number of answer tokens of all processes, so
that a step is that of one process but for the order in which numbers are added.

Precision is that of one process: matrices of units are gathered in the type of matrix products, to
which autocast would round them, everything else in float32.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import fsdp
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import distribute_tensor

from trimllm.checkpoint.stream import Stream
from trimllm.sublayers.modeling_trimllm import decoder_of
from trimllm.train.batching import Tensors, answer_losses


class AnswerLoss(nn.Module):
    """Model and loss as one module, so that the head, which the loss calls, runs inside FSDP."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Tensors, **weights: Any) -> Tensor:
        return answer_losses(self.model, batch, **weights)


def shard(
    model: nn.Module, stream: Stream, dtype: torch.dtype, device: torch.device, offload: bool
) -> AnswerLoss:
    """Share a streamed model whose trainable parameters are marked; each process reads from disk
    what it keeps.

    Args:
        dtype: of matrix products.
        device: of this process.
        offload: keep shares, gradients and moments in host memory while they are not used.
    """
    offload = offload and device.type != "cpu"
    layers = decoder_of(model).layers
    # A layer's matrices are gathered as one piece, of one type; frozen ones rest in `dtype`.
    frozen = {
        id(p)
        for layer in layers
        if not any(p.requires_grad for module in _matrices(layer) for p in module.parameters())
        for module in _matrices(layer)
        for p in module.parameters()
    }

    def empty(_: str, old: nn.Parameter) -> nn.Parameter:
        rest = dtype if id(old) in frozen else torch.float32
        return nn.Parameter(torch.empty_like(old, device="meta", dtype=rest), old.requires_grad)

    def share_of(name: str, old: nn.Parameter) -> nn.Parameter:
        whole = stream.weights.read(name, old.dtype).to(device)
        share = distribute_tensor(whole, old.device_mesh, old.placements, src_data_rank=None)
        return nn.Parameter(share.cpu() if offload else share, old.requires_grad)

    stream.fill(empty)
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    policy = fsdp.CPUOffloadPolicy() if offload else fsdp.OffloadPolicy()
    share = partial(fsdp.fully_shard, mesh=mesh, offload_policy=policy)
    products = fsdp.MixedPrecisionPolicy(dtype, torch.float32, cast_forward_inputs=False)
    exact = fsdp.MixedPrecisionPolicy(cast_forward_inputs=False)
    for layer in layers:
        for module in layer.modules():
            if module._parameters and not isinstance(module, nn.Linear):  # norms
                share(module, mp_policy=exact, reshard_after_forward=True)
        share(layer, mp_policy=products, reshard_after_forward=True)
    root = AnswerLoss(model)
    # What begins and ends the residual stream stays until the backward pass begins with it.
    share(root, mp_policy=exact, reshard_after_forward=False)
    stream.fill(share_of)
    return root


def _matrices(layer: nn.Module) -> list[nn.Linear]:
    return [module for module in layer.modules() if isinstance(module, nn.Linear)]


def trained_weights(model: nn.Module, stream: Stream) -> dict[str, Tensor]:
    """Whole trained weights in host memory, by their names in the checkpoint, in the first process;
    all take part, others get none."""
    options = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=True)
    state = get_model_state_dict(model, options=options)
    in_file: dict[int, str] = {}

    def note(name: str, parameter: nn.Parameter) -> nn.Parameter:
        in_file[id(parameter)] = name
        return parameter

    stream.fill(note)
    names = {n: in_file[id(p)] for n, p in model.named_parameters(remove_duplicate=False)}
    return {names[name]: tensor.contiguous() for name, tensor in state.items()}
