"""The model while it trains: which parameters learn, in which types it lies, and adapters."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from trimllm.base import kernels
from trimllm.base.errors import required
from trimllm.base.precision import compute_dtype
from trimllm.checkpoint import materialize
from trimllm.sublayers import device_of, original_units, unit_layers, unit_parameters, units
from trimllm.train.batching import answer_loss
from trimllm.train.settings import TrainSettings


@dataclass(frozen=True)
class Placed:
    """A model whose trainable parameters are marked, as a pass needs it."""

    model: nn.Module
    loss_of: Callable[..., Tensor]  # `answer_loss` of the model
    device: torch.device  # where it runs
    dtype: torch.dtype  # of matrix products

    @property
    def trained(self) -> dict[str, nn.Parameter]:
        """The trainable parameters by name."""
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}


def set_trainable(
    model: nn.Module, blocks: Iterable[int] | None, embeddings: bool = False
) -> list[nn.Parameter]:
    """Let only the sublayers of the given original blocks learn (None: of all blocks), or the
    adapters of a model that has some; returns the trainable parameters."""
    model.requires_grad_(False)
    of_units = unit_parameters(model)
    chosen = adapters(model) or [
        p for unit, ps in of_units.items() if blocks is None or unit.block in blocks for p in ps
    ]
    if embeddings:
        inside = {id(p) for parameters in of_units.values() for p in parameters}
        chosen += [p for p in model.parameters() if id(p) not in inside]
    for parameter in chosen:
        parameter.requires_grad_(True)
    return chosen


@contextlib.contextmanager
def placed(
    model: nn.Module,
    blocks: Iterable[int] | None,
    settings: TrainSettings,
    lora: dict[str, Any] | None = None,
) -> Iterator[Placed]:
    """A model of this process as it is trained; afterwards in evaluation mode, nothing learns.

    Parameters are float32, but the frozen matrices of sublayers lie in the type of matrix products.
    Afterwards all of a float32 model is float32, what was frozen bit by bit as before; adapters
    (`lora`: arguments of `adapt`) are merged.
    """
    device = device_of(model)
    dtype = compute_dtype(settings.dtype, device)
    adapted = adapt(materialize(model, dtype), settings.seed, **lora) if lora else None
    streamed = any(p.is_meta for p in model.parameters())
    set_trainable(model, blocks, settings.train_embeddings)
    matrices = {id(p) for _, m in unit_linears(model) for p in m.parameters()}

    def type_of(parameter: nn.Parameter) -> torch.dtype:
        resting = id(parameter) in matrices and not parameter.requires_grad
        return dtype if resting else torch.float32

    rounded: list[tuple[nn.Parameter, Tensor]] = []
    if streamed:
        materialize(model, type_of)
    else:
        for parameter in model.parameters():
            before, parameter.data = parameter.data, parameter.data.to(type_of(parameter))
            if not torch.equal(parameter.data.to(before.dtype), before):
                rounded.append((parameter, before))
    head = model.get_output_embeddings()
    if dtype != torch.float32 and not any(p.requires_grad for p in head.parameters()):
        # A copy, so that autocast does not round the largest matrix at every step.
        head = copy.deepcopy(head, {}).to(dtype)
    try:
        yield Placed(model, partial(answer_loss, model, head=head), device, dtype)
    finally:
        for parameter, before in rounded:
            parameter.data = before
        # What was read for training, or lies beside adapters, may be larger than the device.
        if not (streamed or adapted):
            model.float()
        model.eval().requires_grad_(False)
        if adapted:
            adapted.merge_and_unload()


def unit_linears(model: nn.Module) -> list[tuple[str, nn.Linear]]:
    """The linear layers inside the sublayers, by name."""
    inside = {id(module) for _, layer in unit_layers(model) for module in layer.modules()}
    return [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and id(module) in inside
    ]


def size_of(model: nn.Module) -> dict[str, int]:
    """Units and parameters that a model has left, for its record."""
    return {
        "units_left": len(units(model)),
        "units_total": original_units(model),
        "parameters": sum(p.numel() for p in model.parameters()),
    }


def adapt(model: nn.Module, seed: int, rank: int = 16, alpha: float = 32) -> Any:
    """Put adapters beside all matrices W of the sublayers, in place; returns what merges them.

    W x becomes W x + alpha / rank B A x (Hu et al. 2022, section 4.1). A (rank, in) is drawn with
    the seed, B (out, rank) is 0: they add nothing yet.
    """
    kernels.prepare()  # peft imports gptqmodel where that is installed
    with required("evaluate"):
        from peft import LoraConfig, LoraModel

    names = [name for name, _ in unit_linears(model)]
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=names)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LoraModel(model, config, "lora")


def adapters(model: nn.Module) -> list[nn.Parameter]:
    """The parameters of a model's adapters."""
    return [parameter for name, parameter in model.named_parameters() if ".lora_" in name]
