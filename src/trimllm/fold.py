"""Closed-form compensation of a dropped unit: what it added is regressed on what stays before it.

Let Z (width, tokens) be the input of the output projection W of the nearest unit before the dropped
one, and F (hidden, tokens) what the dropped unit adds to the residual stream. Then

    W <- W + F Z^T (Z Z^T + l I)^-1

is the ridge regression of F on Z, added to W: no new parameters. It is the sublayer form of what
ReplaceMe (arXiv 2505.02819) does for blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from more_itertools import chunked
from torch import Tensor, nn

from trimllm.base.errors import UserError
from trimllm.checkpoint import stream_of
from trimllm.data import Document
from trimllm.score.scorer import max_positions
from trimllm.sublayers import Unit, adapter_of, drop, unit_layers, units
from trimllm.sublayers.adapters import device_of
from trimllm.train.batching import examples_of, tensors_of

RIDGE = 0.1
"""l over the mean of the diagonal of Z Z^T."""
BATCH = 16
"""Documents that run at once."""


def fold(
    model: nn.Module, tokenizer: Any, dropped: Sequence[Unit], documents: Sequence[Document]
) -> dict[Unit, float | None]:
    """Drop units in place, the first first, and fold each into the unit before it.

    Args:
        documents: whose prompts and right answers the regression is made on; never test documents.

    Returns:
        By unit, the share of F's square that the regression explains (R^2, the mean not taken
        off); None where no unit is left before it.

    Raises:
        UserError: a streamed model, whose weights cannot be changed.
    """
    if stream_of(model) is not None:
        raise UserError("folding changes weights: it needs `weights_on: device` and one process")
    explained: dict[Unit, float | None] = {}
    for unit in sorted(dropped, key=units(model).index):
        order = units(model)
        before = order[order.index(unit) - 1] if order.index(unit) else None
        explained[unit] = _compensate(model, tokenizer, before, unit, documents) if before else None
        drop(model, [unit])
    return explained


def _compensate(
    model: nn.Module, tokenizer: Any, before: Unit, unit: Unit, documents: Sequence[Document]
) -> float:
    """Change the projection of `before` so that it also adds what `unit` does; returns R^2."""
    adapter, layers = adapter_of(model), dict(unit_layers(model))
    keeper = adapter.output_projection(layers[before], before.kind)
    leaver = adapter.output_projection(layers[unit], unit.kind)
    seen: dict[str, Tensor] = {}
    hooks = [
        keeper.register_forward_hook(lambda _, inputs, __: seen.update(z=inputs[0])),
        leaver.register_forward_hook(lambda _, __, output: seen.update(f=output)),
    ]
    rows, width = keeper.weight.shape
    gram = torch.zeros(width, width, dtype=torch.double, device=keeper.weight.device)
    cross = torch.zeros(rows, width, dtype=torch.double, device=keeper.weight.device)
    total = 0.0
    examples = sorted(examples_of(tokenizer, documents, max_positions(model)), key=len)
    try:
        with torch.no_grad():
            for part in chunked(examples, BATCH):
                batch = tensors_of(part, model.config.pad_token_id or 0, device_of(model))
                model.base_model(batch.ids, attention_mask=batch.mask, use_cache=False)
                # The first token counts: without it what all attention rests on is ruined.
                real = batch.mask.bool().reshape(-1)
                z = seen["z"].reshape(-1, width)[real].double()
                f = seen["f"].reshape(-1, rows)[real].double()
                gram += z.T @ z
                cross += f.T @ z
                total += float(f.square().sum())
            ridge = RIDGE * gram.diagonal().mean()
            solved = torch.linalg.solve(gram + ridge * torch.eye(width).to(gram), cross.T).T
            keeper.weight += solved.to(keeper.weight.dtype)
    finally:
        for hook in hooks:
            hook.remove()
    left = total - 2 * float((solved * cross).sum()) + float(((solved @ gram) * solved).sum())
    return 1 - left / total if total else 0.0
