"""In which type matrix products run."""

from __future__ import annotations

import copy

import torch
from torch import nn

from trimllm.base.errors import UserError


def has_bfloat16(device: torch.device | str = "cpu") -> bool:
    """Whether matrix products in bfloat16 are fast: not emulated."""
    if torch.device(device).type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # The CPU kernels run on any AVX512 machine, but slower than float32 where the processor
    # has no bfloat16 dot product or tiles.
    found = torch.cpu.get_capabilities()
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))


def compute_dtype(name: str, device: torch.device | str = "cpu") -> torch.dtype:
    """The type that "auto", "float32" or "bfloat16" means on a device."""
    if name == "auto":
        return torch.bfloat16 if has_bfloat16(device) else torch.float32
    if name not in ("float32", "bfloat16"):
        raise UserError(f"dtype {name!r} is none of auto, float32, bfloat16")
    return getattr(torch, name)


def round_weights_(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Hold a model's weights in `dtype`, in place; returns the model.

    `model.to(dtype)` would round the buffers as well. Rotary frequencies in bfloat16 are wrong by
    up to one part in 256, at position 500 an angle of a radian.
    """
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    return model


def rounded_copy(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """A copy to read whose weights are `dtype` from the start: no second copy in the model's own
    type, and none of what has that type already, which both share."""
    with torch.no_grad():
        rounded = {
            id(p): p if p.dtype == dtype else nn.Parameter(p.to(dtype), p.requires_grad)
            for p in model.parameters()
        }
    return copy.deepcopy(model, rounded)
