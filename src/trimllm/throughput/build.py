"""Make the model that is measured: a checkpoint as it is, or a shape with random weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM
from transformers.initialization import no_init_weights

from trimllm.base.errors import UserError
from trimllm.checkpoint import load
from trimllm.throughput.kernels import SCALE, compress_random, sparse
from trimllm.throughput.shapes import shape
from trimllm.throughput.subject import Subject
from trimllm.units import modeling_trimllm

POOL = 4_194_301
"""Random numbers of which all random weights are cut; prime, so that no two rows are alike."""
POSITIONS = 4096


def build(subject: Subject) -> nn.Module:
    """The model in evaluation mode on its device. Raises `UserError` for what cannot be made."""
    subject.check()
    if subject.device == "cuda" and not torch.cuda.is_available():
        raise UserError("device cuda was asked for, but this machine has no usable GPU")
    if subject.checkpoint is not None:
        model, _ = load(
            subject.checkpoint,
            dtype=subject.dtype,
            device=subject.device,
            trust_remote_code=subject.trust_remote_code,
            verify=False,  # whoever starts the session has done it
        )
        return sparse_where_it_helps(model)
    return random_model(subject)


def random_config(name: str, units: Any = None) -> Any:
    """transformers' configuration of a shape, of which only `units` are left (None: all)."""
    sizes: dict[str, Any] = shape(name) | {"max_position_embeddings": POSITIONS}
    if units is None:
        return modeling_trimllm.LlamaConfig(**sizes)
    original = sizes.pop("num_hidden_layers")
    return modeling_trimllm.TrimLlamaConfig(
        **sizes,
        num_hidden_layers=len(modeling_trimllm.packed_blocks(units)),
        original_num_hidden_layers=original,
        units=[list(unit) for unit in units],
    )


def random_model(subject: Subject) -> nn.Module:
    """A shape with random weights, trimmed and compressed as the subject says."""
    config = random_config(subject.shape, subject.units)
    # Memory that is reserved but never written costs nothing: what a compressor replaces is free.
    with no_init_weights(), torch.device(subject.device):
        model = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, subject.dtype))
    model.tie_weights()  # which goes with the initialization that was left out
    model.eval().requires_grad_(False)
    if subject.compressor == "sparsegpt_2_4":
        fill(model)  # its mask goes over values
    if subject.compressor is not None:
        compress_random(model, subject.compressor, subject.group_size)
    if subject.compressor != "sparsegpt_2_4":
        fill(model)
    return model


@torch.no_grad()
def fill(model: nn.Module) -> None:
    """Random matrices, ones for norms; quantized and sparse layers have their values already."""
    first = next(model.parameters())
    pool = torch.empty(POOL, dtype=first.dtype, device=first.device).uniform_(-SCALE, SCALE)
    for parameter in model.parameters():
        if parameter.dtype != pool.dtype or type(parameter.data) is not torch.Tensor:
            continue
        if parameter.dim() == 1:
            parameter.fill_(1)
            continue
        for part in parameter.view(-1).split(POOL):
            part.copy_(pool[: len(part)])


def sparse_where_it_helps(model: nn.Module) -> nn.Module:
    """On a GPU with 2:4 tensor cores, run a checkpoint's 2:4 layers on them."""
    on_gpu = next(model.parameters()).device.type == "cuda"
    if not on_gpu or torch.cuda.get_device_capability() < (8, 0):
        return model
    for layer in modeling_trimllm.decoder_of(model).layers.modules():
        if type(layer) is nn.Linear and is_2_4(layer.weight):
            sparse(layer)
    return model


def is_2_4(weight: torch.Tensor) -> bool:
    """Whether at most two of every four weights along the inputs (out, in) are not zero."""
    if weight.shape[-1] % 4:
        return False
    groups = weight.reshape(-1, 4)
    return bool((groups != 0).sum(-1).max() <= 2)
