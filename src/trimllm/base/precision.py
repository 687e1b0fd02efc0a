"""Types of matrix products and weights."""

import copy

import torch
from torch import nn

from trimllm.base.errors import UserError
from trimllm.base.machine import cpu_has_bfloat16


def has_bfloat16(device: torch.device | str = "cpu") -> bool:
    """Whether the device computes matrix products in bfloat16 without emulation."""
    if torch.device(device).type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return cpu_has_bfloat16()


def compute_dtype(name: str, device: torch.device | str = "cpu") -> torch.dtype:
    """The type that "auto", "float32" or "bfloat16" means on a device."""
    fast = torch.bfloat16 if has_bfloat16(device) else torch.float32
    types = {"auto": fast, "float32": torch.float32, "bfloat16": torch.bfloat16}
    if name not in types:
        raise UserError(f"dtype {name!r} is none of {', '.join(types)}")
    return types[name]


def round_weights_(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Convert a model's weights to `dtype` in place; returns the model. `model.to(dtype)` would
    round buffers too: rotary frequencies in bfloat16 are wrong by up to one part in 256, at
    position 500 an angle of a radian."""
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    return model


def rounded_copy(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """The model itself if it has this type, else a read-only copy with rounded weights."""
    if model.dtype == dtype:
        return model
    with torch.no_grad():
        rounded = {id(p): nn.Parameter(p.to(dtype), p.requires_grad) for p in model.parameters()}
    return copy.deepcopy(model, rounded)
