"""LoRA by peft: adapters are trained beside frozen matrices, and merged into them at the end.

Beside every matrix W (out, in) of the units stand A (rank, in) and B (out, rank); W x becomes
W x + alpha / rank B A x. Hu et al. (2022), section 4.1; of all matrices: Dettmers et al. (2023).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from trimllm.base import kernels
from trimllm.base.errors import UserError
from trimllm.sublayers import unit_layers


@dataclass(frozen=True)
class Lora:
    """Shape of adapters."""

    rank: int = 16
    alpha: float = 32


def adapt(model: nn.Module, lora: Lora, seed: int) -> Any:
    """Put adapters beside all linear layers of the units, in place; returns what merges them.

    The adapters add nothing yet: B is 0. A is drawn with the seed.
    """
    kernels.prepare()  # peft imports gptqmodel where that is installed
    try:
        from peft import LoraConfig, LoraModel
    except ImportError:
        raise UserError("LoRA needs package peft; run `make setup`") from None
    inside = {id(module) for _, layer in unit_layers(model) for module in layer.modules()}
    names = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and id(module) in inside
    ]
    config = LoraConfig(r=lora.rank, lora_alpha=lora.alpha, target_modules=names)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LoraModel(model, config, "lora")


def adapters(model: nn.Module) -> list[nn.Parameter]:
    """The parameters of a model's adapters."""
    return [parameter for name, parameter in model.named_parameters() if ".lora_" in name]
