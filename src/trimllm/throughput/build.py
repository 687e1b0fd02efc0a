"""The model that is timed, a checkpoint as it is or a shape with random weights; and its sizes.

Speed depends on kernel and shape, not on values: random codes and scales run on the very kernels
that a compressor's checkpoints run on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.sparse import to_sparse_semi_structured
from transformers import LlamaConfig

from trimllm.base import kernels
from trimllm.checkpoint import load
from trimllm.checkpoint.stock import unwritten
from trimllm.sublayers import original_units, units
from trimllm.sublayers.modeling_trimllm import TrimLlamaConfig, decoder_of, packed_blocks
from trimllm.throughput.subject import SHAPES, Subject

SCALE = 0.02
"""Largest weight of the random layers: small enough that nothing overflows."""


def build(subject: Subject) -> nn.Module:
    """The model in evaluation mode on its device."""
    if subject.shape:
        model = random_model(subject)
    else:
        model, _ = load(
            subject.checkpoint or "",
            dtype=subject.dtype,
            device=subject.device,
            trust_remote_code=subject.trust_remote_code,
            verify=False,  # whoever starts the session has done it
        )
    # Tensor cores skip zeros since compute capability 8.0; a CPU has no kernel that does.
    if subject.device == "cuda" and torch.cuda.get_device_capability() >= (8, 0):
        pack_2_4(model)
    return model


def random_config(name: str, units: Any = None) -> Any:
    """transformers' configuration of a shape, of which only `units` are left (None: all)."""
    shape = SHAPES[name] | {"max_position_embeddings": 4096}
    if units is None:
        return LlamaConfig(**shape)
    shape["original_num_hidden_layers"] = shape["num_hidden_layers"]
    shape["num_hidden_layers"] = len(packed_blocks(units))
    return TrimLlamaConfig(**shape, units=[list(unit) for unit in units])


@torch.no_grad()
def random_model(subject: Subject) -> nn.Module:
    """A shape with random weights, trimmed and compressed as the subject says."""
    config = random_config(subject.shape or "", subject.units)
    # Host memory that is reserved and never written costs nothing: compressed layers replace it.
    model = unwritten(config, getattr(torch, subject.dtype)).eval().requires_grad_(False)
    if subject.compressor == "llm_int8":
        _replace(model, lambda linear: _int8(linear).to(subject.device))
    elif subject.compressor in ("awq_int4", "gptq_int4"):
        _replace(model, _int4(subject))
        from gptqmodel.utils.model import hf_gptqmodel_post_init

        hf_gptqmodel_post_init(model, use_act_order=False)
    for parameter in model.parameters():
        if parameter.is_floating_point():
            random = torch.empty_like(parameter, device=subject.device)
            parameter.data = random.uniform_(-SCALE, SCALE)
    if subject.compressor == "sparsegpt_2_4":
        for linear in linears(model):
            linear.weight.view(linear.out_features, -1, 4)[..., :2] = 0
    return model.to(subject.device)


def _replace(model: nn.Module, layer_of: Callable[[nn.Linear], nn.Module]) -> None:
    """Replace each linear layer of the sublayers; embeddings and head stay, as all compressors
    leave them."""
    for parent in list(decoder_of(model).layers.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Linear:
                setattr(parent, name, layer_of(child).requires_grad_(False).eval())


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
        return packed.to(subject.device)

    return layer


def _int8(linear: nn.Linear) -> nn.Module:
    """bitsandbytes' LLM.int8() with its usual outlier threshold."""
    import bitsandbytes as bnb

    options = {"bias": linear.bias is not None, "has_fp16_weights": False, "threshold": 6.0}
    layer = bnb.nn.Linear8bitLt(linear.in_features, linear.out_features, **options)
    weight = torch.empty(linear.weight.shape, dtype=torch.float16).uniform_(-SCALE, SCALE)
    layer.weight = bnb.nn.Int8Params(weight, requires_grad=False, has_fp16_weights=False)
    return layer


def is_2_4(weight: Tensor) -> bool:
    """Whether at most two of every four weights along the inputs (out, in) are not zero."""
    return not weight.shape[-1] % 4 and bool((weight.reshape(-1, 4) != 0).sum(-1).max() <= 2)


def pack_2_4(model: nn.Module) -> None:
    """Pack weights that are 2:4 sparse for a GPU's sparse tensor cores, in place."""
    for linear in linears(model):
        if type(linear) is nn.Linear and is_2_4(linear.weight):
            weight: Any = to_sparse_semi_structured(linear.weight)
            linear.weight = nn.Parameter(weight, requires_grad=False)


def sizes(model: nn.Module, prompt: int) -> dict[str, Any]:
    """Sizes, to be read before the first forward pass, in which some int4 kernels repack weights.

    `bytes` are those of the stored weights (a tied head has none), `kv_bytes_per_token` what a
    token adds to the cache, `prefill_operations` the multiplications and additions of the matrix
    products of a prompt of so many tokens.
    """
    config, kept, layers = model.config, units(model), decoder_of(model).layers
    embeddings, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    tensors = dict([*layers.named_parameters(), *layers.named_buffers()])
    stored = [tensors[name] for name in layers.state_dict() if name in tensors]
    heads = config.num_attention_heads
    kv_heads = getattr(config, "num_key_value_heads", None) or heads
    head_width = getattr(config, "head_dim", None) or config.hidden_size // heads
    channels = head_width * sum(unit.kind == "attention" for unit in kept)
    # Each weight of the sublayers takes two operations a token, each weight of the head two in all,
    # and the t-th token's attention 4 · t · channels a head. A compressed weight counts like a
    # dense one.
    inside = sum(layer.in_features * layer.out_features for layer in linears(model))
    attention = 4 * heads * channels * prompt * (prompt + 1) // 2
    return {
        "units_kept": len(kept),
        "units_total": original_units(model),
        "bytes": {
            "units": sum(map(_bytes, stored)),
            "embeddings": _bytes(embeddings),
            "head": 0 if head is embeddings else _bytes(head),
        },
        "kv_bytes_per_token": 2 * kv_heads * channels * model.dtype.itemsize,
        "prefill_operations": 2 * prompt * inside + attention + 2 * head.numel(),
    }


def linears(model: nn.Module) -> list[Any]:
    """The sublayers' linear layers, compressed ones among them."""
    return [m for m in decoder_of(model).layers.modules() if hasattr(m, "in_features")]


def _bytes(weight: Any) -> int:
    # Weights that are packed for sparse tensor cores consist of two tensors.
    parts = [getattr(weight, "packed", None), getattr(weight, "meta", None)]
    return sum(part.nbytes for part in parts if part is not None) or int(weight.nbytes)
