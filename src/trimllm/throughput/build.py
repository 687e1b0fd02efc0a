"""The model that is timed: a checkpoint as it is, or a shape with random weights.

Speed depends on kernel and shape, not on values: random codes and scales run on the very kernels
that a compressor's checkpoints run on.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.sparse import to_sparse_semi_structured
from transformers import LlamaConfig

from trimllm.base import kernels
from trimllm.checkpoint import load
from trimllm.checkpoint.stock import unwritten
from trimllm.sublayers.modeling_trimllm import TrimLlamaConfig, decoder_of, packed_blocks
from trimllm.throughput.shapes import SHAPES
from trimllm.throughput.subject import Subject

SCALE = 0.02
"""Largest weight of the random layers: small enough that nothing overflows."""


def build(subject: Subject) -> nn.Module:
    """The model in evaluation mode on its device."""
    if subject.shape:
        return random_model(subject)
    model, _ = load(
        subject.checkpoint or "",
        dtype=subject.dtype,
        device=subject.device,
        trust_remote_code=subject.trust_remote_code,
        verify=False,  # whoever starts the session has done it
    )
    # Tensor cores skip zeros since compute capability 8.0.
    if subject.device == "cuda" and torch.cuda.get_device_capability() >= (8, 0):
        replace(model, lambda linear: sparse(linear) if is_2_4(linear.weight) else linear)
    return model


def random_config(name: str, units: Any = None) -> Any:
    """transformers' configuration of a shape, of which only `units` are left (None: all)."""
    sizes = SHAPES[name] | {"max_position_embeddings": 4096}
    if units is None:
        return LlamaConfig(**sizes)
    original = sizes.pop("num_hidden_layers")
    return TrimLlamaConfig(
        **sizes,
        num_hidden_layers=len(packed_blocks(units)),
        original_num_hidden_layers=original,
        units=[list(unit) for unit in units],
    )


@torch.no_grad()
def random_model(subject: Subject) -> nn.Module:
    """A shape with random weights, trimmed and compressed as the subject says."""
    device, compressor = torch.device(subject.device), subject.compressor
    config = random_config(subject.shape or "", subject.units)
    # Host memory that is reserved and never written costs nothing: compressed layers replace it.
    model = unwritten(config, getattr(torch, subject.dtype)).eval().requires_grad_(False)
    if compressor == "llm_int8":
        replace(model, partial(_int8, device=device))
    elif compressor in ("awq_int4", "gptq_int4"):
        replace(model, _int4(subject))
        from gptqmodel.utils.model import hf_gptqmodel_post_init

        hf_gptqmodel_post_init(model, use_act_order=False)
    for parameter in model.parameters():
        if parameter.is_floating_point():
            parameter.data = torch.empty_like(parameter, device=device).uniform_(-SCALE, SCALE)
    if compressor == "sparsegpt_2_4":
        replace(model, _random_2_4)
    return model.to(device)


def replace(model: nn.Module, layer_of: Callable[[nn.Linear], nn.Module]) -> None:
    """Replace each linear layer of the sublayers; embeddings and head stay, as all compressors
    leave them."""
    for parent in list(decoder_of(model).layers.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Linear:
                setattr(parent, name, layer_of(child))


def _int4(subject: Subject) -> Callable[[nn.Linear], nn.Module]:
    """Layers of the class that transformers takes for our GPTQ or AWQ checkpoints on this device:
    on a CPU a wrapper of torch's own int4 product, which needs no compiler."""
    kernels.prepare()
    from gptqmodel.quantization import METHOD
    from gptqmodel.utils.importer import hf_select_quant_linear_v2

    gptq = subject.compressor == "gptq_int4"
    method = METHOD.GPTQ if gptq else METHOD.AWQ
    options = {"bits": 4, "group_size": subject.group_size, "sym": False, "desc_act": False}
    layer_class = hf_select_quant_linear_v2(
        **options,
        format="gptq" if gptq else "gemm",
        backend=kernels.four_bit_backend(method.value, subject.device),
        device_map={"": subject.device},
        quant_method=method,
        zero_point=not gptq,
        pack=False,
    )

    def layer(linear: nn.Linear) -> nn.Module:
        features = {"in_features": linear.in_features, "out_features": linear.out_features}
        bias = linear.bias is not None
        packed = layer_class(**options, **features, bias=bias, register_buffers=True)
        for name, buffer in packed.named_buffers():
            if name in ("qweight", "qzeros"):
                buffer.random_(-(2**31), 2**31 - 1)
            elif name == "scales":
                buffer.uniform_(0, SCALE / 8)
        return packed.to(subject.device).requires_grad_(False).eval()

    return layer


def _int8(linear: nn.Linear, device: torch.device) -> nn.Module:
    """bitsandbytes' LLM.int8() with its usual outlier threshold."""
    import bitsandbytes as bnb

    options = {"bias": linear.bias is not None, "has_fp16_weights": False, "threshold": 6.0}
    layer = bnb.nn.Linear8bitLt(linear.in_features, linear.out_features, **options)
    weight = torch.empty(linear.weight.shape, dtype=torch.float16).uniform_(-SCALE, SCALE)
    layer.weight = bnb.nn.Int8Params(weight, requires_grad=False, has_fp16_weights=False)
    return layer.to(device).eval()


def is_2_4(weight: Tensor) -> bool:
    """Whether at most two of every four weights along the inputs (out, in) are not zero."""
    if weight.shape[-1] % 4:
        return False
    return bool((weight.reshape(-1, 4) != 0).sum(-1).max() <= 2)


def _random_2_4(linear: nn.Linear) -> nn.Linear:
    """Zero the first two of every four inputs. A CPU has no kernel that skips zeros."""
    linear.weight.view(linear.out_features, -1, 4)[..., :2] = 0
    return sparse(linear) if linear.weight.device.type == "cuda" else linear


def sparse(linear: nn.Linear) -> nn.Linear:
    """Pack weights that are 2:4 sparse already for a GPU's sparse tensor cores, in place."""
    weight: Any = to_sparse_semi_structured(linear.weight)
    linear.weight = nn.Parameter(weight, requires_grad=False)
    return linear
