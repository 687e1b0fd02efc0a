"""LoRA: low-rank adapters are trained beside frozen matrices, and merged into them at the end.

Beside every matrix W (out, in) of the units stand A (rank, in) and B (out, rank); W x becomes
W x + alpha / rank B A x, and A and B alone are trained. B begins at zero. Source: Hu et al. (2022),
section 4.1; that all matrices of a layer should have them: Dettmers et al. (2023), section 4. The
adapters are peft's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from trimllm.base.errors import UserError
from trimllm.sublayers import unit_layers


@dataclass(frozen=True)
class Lora:
    """What adapters there are."""

    rank: int = 16
    alpha: float = 32  # what they say counts alpha / rank times


def adapt(model: nn.Module, lora: Lora, seed: int) -> Any:
    """Put adapters beside all linear layers of the units, in place: the model says what it said.

    Args:
        model: with its weights (not streamed).
        seed: of A.

    Returns:
        What `merge` takes.
    """
    try:
        from peft import LoraConfig, LoraModel
    except ImportError:
        raise UserError("LoRA needs package peft; run `make setup`") from None
    inside = {id(module) for _, layer in unit_layers(model) for module in layer.modules()}
    wanted = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and id(module) in inside
    ]
    told = LoraConfig(r=lora.rank, lora_alpha=lora.alpha, target_modules=wanted)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LoraModel(model, told, "lora")


def adapters(model: nn.Module) -> list[nn.Parameter]:
    """The parameters of a model's adapters, which peft knows by their names, too."""
    return [parameter for name, parameter in model.named_parameters() if ".lora_" in name]


def merge(adapted: Any) -> None:
    """Add what the adapters say to the matrices that they stand beside, rounded once to their type.

    The model has its own modules again.
    """
    adapted.merge_and_unload()
