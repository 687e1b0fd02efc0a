"""Make the model that is measured: a checkpoint as it is, or a shape with random weights.

Speed depends on kernel and shape, not on values, so a layer with random codes and scales is as fast
as one that a compressor has made: random weights go behind the very kernels that compressed
checkpoints run on.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.sparse import to_sparse_semi_structured
from transformers import AttentionInterface, AttentionMaskInterface, LlamaConfig
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from trimllm.base import kernels
from trimllm.base.errors import UserError
from trimllm.checkpoint import load
from trimllm.checkpoint.stock import unwritten
from trimllm.sublayers.modeling_trimllm import TrimLlamaConfig, decoder_of, packed_blocks
from trimllm.throughput.shapes import shape
from trimllm.throughput.subject import INT4, Subject

SCALE = 0.02
"""Largest weight of the random layers: small enough that nothing overflows."""
POOL = 4_194_301
"""Random numbers of which all random weights are cut; prime, so that no two rows are alike."""
POSITIONS = 4096
ATTENTION = "trimllm_one_row"
"""Name of the attention for one row in transformers' registry."""
STOCK, NATIVE = "onednn", "native"
"""The linear kernels: what torch takes by itself, and torch's own products."""
MARGIN = 1.1
"""The stock kernel stays unless the other is so many times as fast: no choice by chance."""


def build(subject: Subject) -> nn.Module:
    """The model in evaluation mode on its device. Raises `UserError` for what cannot be made."""
    subject.check()
    if subject.device == "cuda" and not torch.cuda.is_available():
        raise UserError("device cuda was asked for, but this machine has no usable GPU")
    if subject.checkpoint is None:
        return random_model(subject)
    model, _ = load(
        subject.checkpoint,
        dtype=subject.dtype,
        device=subject.device,
        trust_remote_code=subject.trust_remote_code,
        verify=False,  # whoever starts the session has done it
    )
    if subject.device == "cuda" and torch.cuda.get_device_capability() >= (8, 0):
        for layer in decoder_of(model).layers.modules():
            if type(layer) is nn.Linear and is_2_4(layer.weight):
                sparse(layer)
    return model


def random_config(name: str, units: Any = None) -> Any:
    """transformers' configuration of a shape, of which only `units` are left (None: all)."""
    sizes: dict[str, Any] = shape(name) | {"max_position_embeddings": POSITIONS}
    if units is None:
        return LlamaConfig(**sizes)
    original = sizes.pop("num_hidden_layers")
    return TrimLlamaConfig(
        **sizes,
        num_hidden_layers=len(packed_blocks(units)),
        original_num_hidden_layers=original,
        units=[list(unit) for unit in units],
    )


def random_model(subject: Subject) -> nn.Module:
    """A shape with random weights, trimmed and compressed as the subject says."""
    assert subject.shape is not None  # the other kind of subject is a checkpoint
    config = random_config(subject.shape, subject.units)
    # Memory that is reserved but never written costs nothing: what a compressor replaces is free.
    with torch.device(subject.device):
        model = unwritten(config, getattr(torch, subject.dtype))
    model.eval().requires_grad_(False)
    if subject.compressor == "sparsegpt_2_4":
        fill(model)  # its mask goes over values
    if subject.compressor is not None:
        compress_random(model, subject.compressor, subject.group_size, subject.symmetric)
    if subject.compressor != "sparsegpt_2_4":
        fill(model)
    return model


@torch.no_grad()
def fill(model: nn.Module) -> None:
    """Random matrices, ones for norms; quantized and sparse layers have their values already."""
    first = next(model.parameters())
    pool = torch.empty(POOL, dtype=first.dtype, device=first.device).uniform_(-SCALE, SCALE)
    for parameter in model.parameters():
        if parameter.dtype != pool.dtype or type(parameter.data) is not Tensor:
            continue
        if parameter.dim() == 1:
            parameter.fill_(1)
            continue
        for part in parameter.view(-1).split(POOL):
            part.copy_(pool[: len(part)])


def compress_random(
    model: nn.Module, compressor: str, group_size: int, symmetric: bool = False
) -> None:
    """Put a compressor's kernels in the place of every linear layer of the units.

    Embeddings and head stay as they are, as all compressors leave them. Raises `UserError` where
    the kernel's package (see `Subject.check`) has none for this device.
    """
    device = next(model.parameters()).device
    replace: Callable[[nn.Linear], nn.Module]
    if compressor == "sparsegpt_2_4":
        replace = sparse if device.type == "cuda" else masked
    elif compressor == "llm_int8":
        replace = _int8
    else:
        replace = _int4(compressor, group_size, symmetric, device)
    for parent in list(decoder_of(model).layers.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Linear:
                setattr(parent, name, replace(child))
    if compressor in INT4:
        from gptqmodel.utils.model import hf_gptqmodel_post_init

        hf_gptqmodel_post_init(model, use_act_order=False)


def _int4(
    compressor: str, group_size: int, symmetric: bool, device: torch.device
) -> Callable[..., nn.Module]:
    """Layers of the class that transformers takes for our GPTQ or AWQ checkpoints on this device:
    symmetric or not as those that accuracy is measured with.

    On a CPU that is a wrapper of torch's own int4 product, which needs no compiler.
    """
    kernels.prepare()
    from gptqmodel.quantization import METHOD
    from gptqmodel.utils.importer import hf_select_quant_linear_v2

    gptq = compressor == "gptq_int4"
    method = METHOD.GPTQ if gptq else METHOD.AWQ
    how = {"bits": 4, "group_size": group_size, "sym": symmetric and gptq, "desc_act": False}
    try:
        layer_class = hf_select_quant_linear_v2(
            **how,
            format="gptq" if gptq else "gemm",
            backend=kernels.four_bit_backend(method.value, str(device)),
            device_map={"": str(device)},
            quant_method=method,
            zero_point=not gptq,
            pack=False,
        )
    except (ValueError, ImportError, NotImplementedError, RuntimeError) as error:
        raise UserError(
            f"no int4 kernel for {compressor} on {device.type} ({_reason(error)}); leave it out "
            "here"
        ) from error
    return partial(_random_int4, partial(layer_class, **how, register_buffers=True))


def _random_int4(layer_class: Callable[..., nn.Module], linear: nn.Linear) -> nn.Module:
    sizes = {"in_features": linear.in_features, "out_features": linear.out_features}
    layer = layer_class(**sizes, bias=linear.bias is not None)
    for name, buffer in layer.named_buffers():
        if name in ("qweight", "qzeros"):
            buffer.random_(-(2**31), 2**31 - 1)
        elif name == "scales":
            buffer.uniform_(0, SCALE / 8)
    return layer.to(linear.weight.device).requires_grad_(False).eval()


def _int8(linear: nn.Linear) -> nn.Module:
    """bitsandbytes' LLM.int8() with its usual outlier threshold."""
    import bitsandbytes as bnb

    how = {"bias": linear.bias is not None, "has_fp16_weights": False, "threshold": 6.0}
    layer = bnb.nn.Linear8bitLt(linear.in_features, linear.out_features, **how)
    weight = torch.empty(linear.weight.shape, dtype=torch.float16).uniform_(-SCALE, SCALE)
    layer.weight = bnb.nn.Int8Params(weight, requires_grad=False, has_fp16_weights=False)
    return layer.to(linear.weight.device).eval()


def is_2_4(weight: Tensor) -> bool:
    """Whether at most two of every four weights along the inputs (out, in) are not zero."""
    if weight.shape[-1] % 4:
        return False
    return bool((weight.reshape(-1, 4) != 0).sum(-1).max() <= 2)


@torch.no_grad()
def masked(linear: nn.Linear) -> nn.Module:
    """2:4 sparse weights, the first two of every four inputs zero, in a dense layer, in place.

    A CPU has no kernel that skips the zeros.
    """
    linear.weight.view(linear.out_features, -1, 4)[..., :2] = 0
    return linear


def sparse(linear: nn.Linear) -> nn.Module:
    """2:4 sparse weights on a GPU's sparse tensor cores (compute capability 8.0 and later)."""
    masked(linear)
    try:
        weight: Any = to_sparse_semi_structured(linear.weight)
    except (RuntimeError, ValueError, NotImplementedError) as error:
        name = torch.cuda.get_device_name() if torch.cuda.is_available() else "this machine"
        raise UserError(f"{name} has no 2:4 kernel for these layers ({_reason(error)})") from error
    linear.weight = nn.Parameter(weight, requires_grad=False)
    return linear


def _reason(error: Exception) -> str:
    return str(error).strip().split("\n")[0]


# ---- the fastest stock kernels for a single row of 16-bit floats on a CPU -------------------
#
# What torch takes by itself is made for many rows. Measured on one core of an AMD EPYC with AVX512
# bfloat16, torch 2.13, for one token: a 2048 x 2048 product takes 470 µs through oneDNN and 290 µs
# through torch's own kernel; attention of 32 heads over 500 keys takes 1260 µs through the fused
# kernel and 140 µs as two products through oneDNN. Left alone, attention would take a third of a
# token's time and hide what is measured here, the reading of the weights.


def use_one_row_kernels(model: nn.Module) -> None:
    """Give a model the fast attention, and a head that takes one row of many as it is.

    Changes nothing on a GPU, and of float32 the head alone: the other stock kernels are fast there.
    """
    head = model.get_output_embeddings()
    if head.weight.device.type != "cpu":
        return
    head.register_forward_pre_hook(_own_row)
    if head.weight.dtype != torch.float32:
        AttentionInterface.register(ATTENTION, attention)
        AttentionMaskInterface.register(ATTENTION, sdpa_mask)
        model.set_attn_implementation(ATTENTION)


def _own_row(head: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
    # The last position is a slice of (1, tokens, width), whose strides make torch copy the head's
    # whole weight before it multiplies: 0.3 s of the 1.8 s of a prompt at the 1B shape.
    return inputs[0].clone(memory_format=torch.contiguous_format)


def linear_kernels(model: nn.Module) -> tuple[str, ...]:
    """The linear kernels that a model may be decoded with: one where there is no choice, which is
    on a GPU and for float32."""
    weight = model.get_input_embeddings().weight
    alone = weight.device.type != "cpu" or weight.dtype == torch.float32
    return (STOCK,) if alone else (STOCK, NATIVE)


def faster_kernel(seconds: Mapping[str, float]) -> str:
    """The kernel to use after a step took so long by each: the stock one but for a clear reason."""
    return NATIVE if seconds.get(STOCK, 0) > MARGIN * seconds.get(NATIVE, math.inf) else STOCK


@contextlib.contextmanager
def linear_kernel(name: str) -> Iterator[None]:
    """Run a block with oneDNN's CPU products ("onednn") or with torch's own ("native")."""
    before = torch._C._get_mkldnn_enabled()
    torch._C._set_mkldnn_enabled(name == STOCK)
    try:
        yield
    finally:
        torch._C._set_mkldnn_enabled(before)


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **how: Any,
) -> tuple[Tensor, None]:
    """Attention as transformers calls it; one query goes as two products, the rest to torch.

    Args:
        query: (rows, heads, queries, head width).
        key, value: (rows, KV heads, keys, head width); each serves heads / KV heads heads.

    Returns:
        (rows, queries, heads, head width)
    """
    if query.shape[2] != 1 or attention_mask is not None:
        how["scaling"] = scaling
        return sdpa_attention_forward(module, query, key, value, attention_mask, **how)
    rows, heads, _, width = query.shape
    grouped = query.view(rows, key.shape[1], -1, width)
    with linear_kernel(STOCK):
        scores = torch.matmul(grouped, key.transpose(2, 3)).float()
        scores = scores.mul_(width**-0.5 if scaling is None else scaling)
        mixed = torch.matmul(scores.softmax(-1).to(value.dtype), value)
    return mixed.reshape(rows, 1, heads, width), None
