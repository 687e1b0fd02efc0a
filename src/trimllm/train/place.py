"""A model as it is trained: which parameters learn, and in which type the others rest."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterable, Iterator
from functools import partial

import torch
from torch import Tensor, nn

from trimllm.checkpoint import materialize, stream_of
from trimllm.sublayers import original_units, unit_layers, unit_parameters, units
from trimllm.train.batching import answer_losses
from trimllm.train.lora import adapters

LossOf = Callable[..., Tensor]
"""`answer_losses` of a model: of tensors, kl and hidden."""


def set_trainable(
    model: nn.Module, blocks: Iterable[int] | None, embeddings: bool = False
) -> list[nn.Parameter]:
    """Let only the units of the given original blocks learn (None: of all blocks).

    A trainable block that has lost its units is not replaced. Of a model with adapters these learn,
    and nothing else. Returns the trainable parameters.
    """
    model.requires_grad_(False)
    of_units = unit_parameters(model)
    wanted = None if blocks is None else set(blocks)
    chosen = adapters(model) or [
        parameter
        for unit in units(model)
        if wanted is None or unit.block in wanted
        for parameter in of_units[unit]
    ]
    if embeddings:
        inside = {id(p) for parameters in of_units.values() for p in parameters}
        chosen += [p for p in model.parameters() if id(p) not in inside]
    for parameter in chosen:
        parameter.requires_grad_(True)
    return chosen


@contextlib.contextmanager
def placed(model: nn.Module, dtype: torch.dtype, lean: bool = False) -> Iterator[LossOf]:
    """A model, whose trainable parameters are marked, as it is trained; gives its `answer_losses`.

    Parameters are float32, but frozen matrices of units rest in `dtype`, in which they are used.
    Afterwards all are float32, frozen ones bit by bit what they were; with `lean` those whose
    numbers `dtype` holds exactly stay in it.
    """
    resting = {
        id(parameter)
        for _, layer in unit_layers(model)
        for module in layer.modules()
        if isinstance(module, nn.Linear) and not module.weight.requires_grad
        for parameter in module.parameters()
    }

    def rest(parameter: nn.Parameter) -> torch.dtype:
        return dtype if id(parameter) in resting else torch.float32

    exact: list[tuple[nn.Parameter, Tensor]] = []
    if stream_of(model) is not None:
        materialize(model, rest)
    else:
        for parameter in model.parameters():
            before, parameter.data = parameter.data, parameter.data.to(rest(parameter))
            rounded = not torch.equal(parameter.data.to(before.dtype), before)
            if rounded and not parameter.requires_grad:
                exact.append((parameter, before))
    own, head = model.get_output_embeddings(), None
    if dtype != torch.float32 and not any(p.requires_grad for p in own.parameters()):
        # A copy, so that autocast does not round the head, the largest matrix, at every step.
        head = copy.deepcopy(own, {}).to(dtype)
    try:
        yield partial(answer_losses, model, head=head)
    finally:
        for parameter, before in exact:
            parameter.data = before
        if not lean:
            model.float()


def size_of(model: nn.Module) -> dict[str, int]:
    """Units and parameters that a model has left, for its record."""
    left = units(model)
    return {
        "units_left": len(left),
        "units_total": original_units(model),
        "parameters": sum(p.numel() for p in model.parameters()),
        "attention_left": sum(unit.kind == "attention" for unit in left),
        "mlp_left": sum(unit.kind == "mlp" for unit in left),
    }
