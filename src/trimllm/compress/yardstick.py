"""What a compressor is measured against: the plainest way to the same size.

| compressor | yardstick | margin, nats a token |
|---|---|---|
| awq_int4, gptq_int4 | four bits, same groups, rounded to nearest | 0.25 |
| llm_int8 | eight bits, a scale a row, rounded to nearest | 0.05 |
| sparsegpt_2_4 | the two smaller of every four weights set to zero | 0 |
| llm_pruner | structures drawn at random, same widths | 0 |

The margin is how much worse than its yardstick a checkpoint may be on held-back answers: a corrupt
one is worse by nats. A method that calibrates can lose a little on texts that it has not seen. And
weights that had four bits before, as the embedded default's, lie on a grid that rounding mostly
keeps and that AWQ's scaling leaves. (Answers and no prompts: half trimmed on MedMCQA, the default's
model has a loss of 0.00 on answers, and of 27 nats a token on whole texts, where a broken
checkpoint would not stand out.)
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from trimllm.compress import int4, llm_pruner
from trimllm.compress.job import CompressSettings, linear_names

MARGINS = {
    "awq_int4": 0.25,
    "gptq_int4": 0.25,
    "llm_int8": 0.05,
    "sparsegpt_2_4": 0.0,
    "llm_pruner": 0.0,
}
NAMES = {
    "awq_int4": "round to nearest, int4",
    "gptq_int4": "round to nearest, int4",
    "llm_int8": "round to nearest, int8",
    "sparsegpt_2_4": "magnitude, 2:4",
    "llm_pruner": "random structures",
}


@torch.no_grad()
def make_yardstick_(method: str, model: nn.Module, settings: CompressSettings) -> None:
    """Change a dense model in place; see the table above."""
    if method == "llm_pruner":
        generator = torch.Generator().manual_seed(settings.seed)
        llm_pruner.cut(
            model,
            llm_pruner.plan(model, settings.kept),
            lambda sides: torch.rand(int(sides[0].owner.max()) + 1, generator=generator),
        )
        return
    change: Callable[[Tensor], Tensor] = {
        "llm_int8": int8_to_nearest,
        "sparsegpt_2_4": two_of_four,
    }.get(method, lambda weight: int4.round_to_nearest(weight, settings.group_size))
    for name in linear_names(model):
        weight = model.get_submodule(name).weight
        weight.copy_(change(weight.float()))


def int8_to_nearest(weight: Tensor) -> Tensor:
    """(out, in) weights in 255 steps, the largest of a row at 127."""
    scale = weight.abs().amax(1, keepdim=True).clamp(min=1e-12) / 127
    return (weight / scale).round() * scale


def two_of_four(weight: Tensor) -> Tensor:
    """(out, in) weights, the two smaller of every four neighbours in a row set to zero."""
    grouped = weight.unflatten(1, (-1, 4))
    kept = grouped.abs().topk(2, dim=2).indices
    mask = torch.zeros_like(grouped, dtype=torch.bool).scatter_(2, kept, True)
    return (grouped * mask).flatten(1)
