"""How to train."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from trimllm.errors import UserError


@dataclass(frozen=True)
class TrainSettings:
    """Settings of a training run.

    Attributes:
        learning_rate: at the first step; decays linearly to 0 at the last step of the last epoch.
        batch_size: documents that run at once.
        gradient_accumulation: batches an optimizer step; changes memory, not the result (but for
            rounding), when batch_size shrinks accordingly.
        weight_decay, clip: of AdamW, and of the gradient's norm.
        train_embeddings: also train embeddings, head and final norm (the authors' code did).
        seed: order of documents, and dropout where a model has it.
        dtype: "float32", "bfloat16" (matrix products in bfloat16, master weights in float32), or
            "auto": bfloat16 where the processor has it.
    """

    learning_rate: float = 2e-5
    batch_size: int = 8
    gradient_accumulation: int = 1
    weight_decay: float = 0.0
    clip: float = 1.0
    train_embeddings: bool = False
    seed: int = 0
    dtype: str = "auto"


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
