"""Random weights behind the very kernels that compressed checkpoints run on.

Speed depends on kernel and shape, not on values, so a layer with random codes and scales is as fast
as one that a compressor has made. Each function replaces one `nn.Linear` in place of its parent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from trimllm.base.errors import UserError
from trimllm.units.modeling_trimllm import decoder_of

SCALE = 0.02
"""Largest weight of the random layers: small enough that nothing overflows."""


def compress_random(model: nn.Module, compressor: str, group_size: int) -> None:
    """Put a compressor's kernels in the place of every linear layer of the units.

    Embeddings and head stay as they are, as all compressors leave them. Raises `UserError` where
    the kernel's package (see `Subject.check`) has none for this device.
    """
    device = next(model.parameters()).device
    replace: Callable[[nn.Linear], nn.Module]
    if compressor == "sparsegpt_2_4":
        replace = sparse if device.type == "cuda" else masked
    elif compressor == "llm_int8":
        replace = _int8(device)
    else:
        replace = _int4(compressor, group_size, device)
    layers = decoder_of(model).layers
    for parent in list(layers.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Linear:
                setattr(parent, name, replace(child))
    if compressor in ("awq_int4", "gptq_int4"):
        from gptqmodel.utils.model import hf_gptqmodel_post_init

        hf_gptqmodel_post_init(model, use_act_order=False)


def _int4(compressor: str, group_size: int, device: torch.device) -> Callable[..., nn.Module]:
    """The layer class that transformers takes for a GPTQ or AWQ checkpoint on this device.

    On a CPU that is a wrapper of torch's own int4 product, which needs no compiler.
    """
    from gptqmodel.quantization import METHOD
    from gptqmodel.utils.importer import hf_select_quant_linear_v2

    gptq = compressor == "gptq_int4"
    try:
        layer_class = hf_select_quant_linear_v2(
            bits=4,
            group_size=group_size,
            desc_act=False,
            sym=gptq,
            format="gptq" if gptq else "gemm",
            backend="auto",
            device_map={"": str(device)},
            quant_method=METHOD.GPTQ if gptq else METHOD.AWQ,
            zero_point=not gptq,
            pack=False,
        )
    except (ValueError, ImportError, NotImplementedError, RuntimeError) as error:
        reason = str(error).strip().split("\n")[0]
        raise UserError(
            f"no int4 kernel for {compressor} on {device.type} ({reason}); leave it out here"
        ) from error

    def replace(linear: nn.Linear) -> nn.Module:
        layer = layer_class(
            bits=4,
            group_size=group_size,
            sym=gptq,
            desc_act=False,
            in_features=linear.in_features,
            out_features=linear.out_features,
            bias=linear.bias is not None,
            register_buffers=True,
        )
        for name, buffer in layer.named_buffers():
            if name in ("qweight", "qzeros"):
                buffer.random_(-(2**31), 2**31 - 1)
            elif name == "scales":
                buffer.uniform_(0, SCALE / 8)
        return layer.to(device).requires_grad_(False).eval()

    return replace


def _int8(device: torch.device) -> Callable[[nn.Linear], nn.Module]:
    """bitsandbytes' LLM.int8() with its usual outlier threshold."""
    import bitsandbytes as bnb

    def replace(linear: nn.Linear) -> nn.Module:
        layer = bnb.nn.Linear8bitLt(
            linear.in_features,
            linear.out_features,
            bias=linear.bias is not None,
            has_fp16_weights=False,
            threshold=6.0,
        )
        weight = torch.empty(linear.weight.shape, dtype=torch.float16).uniform_(-SCALE, SCALE)
        layer.weight = bnb.nn.Int8Params(weight, requires_grad=False, has_fp16_weights=False)
        return layer.to(device).eval()

    return replace


def mask_2_4(weight: torch.Tensor) -> torch.Tensor:
    """Zero the first two of every four weights along the inputs, in place; (out, in)."""
    weight.view(*weight.shape[:-1], -1, 4)[..., :2] = 0
    return weight


@torch.no_grad()
def masked(linear: nn.Linear) -> nn.Module:
    """2:4 sparse weights in a dense layer: a CPU has no kernel that skips the zeros."""
    mask_2_4(linear.weight)
    return linear


def sparse(linear: nn.Linear) -> nn.Module:
    """2:4 sparse weights on a GPU's sparse tensor cores (compute capability 8.0 and later)."""
    from torch.sparse import to_sparse_semi_structured

    masked(linear)
    try:
        weight: Any = to_sparse_semi_structured(linear.weight)
    except (RuntimeError, ValueError, NotImplementedError) as error:
        name = torch.cuda.get_device_name() if torch.cuda.is_available() else "this machine"
        reason = str(error).strip().split("\n")[0]
        raise UserError(f"{name} has no 2:4 kernel for these layers ({reason})") from error
    linear.weight = nn.Parameter(weight, requires_grad=False)
    return linear
