"""A model's own forward pass with other code in the place of its decoder layers.

Embeddings, positions, final norm and head are the stock model's, so nothing here depends on how a
family computes them; sublayers run one at a time, on any number of residual streams.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from trimllm.score.rows import Batch
from trimllm.sublayers import adapter_of, unit_layers
from trimllm.sublayers.families import window_of
from trimllm.sublayers.modeling_trimllm import decoder_of, update

# Tokens that run through a sublayer at once on a CPU: its activations then stay in the cache.
CPU_TOKENS = 1024
# Rows of logits in memory at once, and those that a CPU normalizes at once, in its cache: a quarter
# of the time.
LOGIT_ROWS, CPU_LOGIT_ROWS = 256, 4


class _InPlaceOfLayers(nn.Module):
    def __init__(self, run: Callable[..., Tensor]) -> None:
        super().__init__()
        self.run = run

    def forward(self, hidden_states: Tensor, **kwargs: Any) -> Tensor:
        return self.run(hidden_states, kwargs.get("position_embeddings"))


def answer_states(
    model: nn.Module, batch: Batch, candidates: Sequence[int] = (), norms: Tensor | None = None
) -> Tensor:
    """The head's input (1 + candidates, answer places, width): with nothing dropped, then without
    each candidate.

    Args:
        candidates: numbers of sublayers, in forward order.
        norms: (sublayers,) float64; the Frobenius norms of each sublayer's output in the undropped
            stream, summed over the rows, are added to it.
    """
    decoder, sublayers, parts = decoder_of(model), unit_layers(model), adapter_of(model).parts
    layers, mask = decoder.layers, batch.mask(window_of(model.config), model.dtype)

    def run(hidden: Tensor, rotary: tuple[Tensor, Tensor] | None) -> Tensor:
        streams = hidden.new_empty(1 + len(candidates), *hidden.shape)
        streams[0], running = hidden, 1
        for number, (unit, layer) in enumerate(sublayers):
            before = streams[0].clone()
            _add_(layer, parts[unit.kind], streams[:running], mask, rotary)
            if norms is not None:
                squares = (streams[0] - before).float().square().sum(-1) * (batch.segments >= 0)
                norms[number] += squares.sum(-1).sqrt().sum(dtype=torch.double).cpu()
            if number in candidates:
                streams[running] = before
                running += 1
        return streams.flatten(1, 2)[:, batch.places]

    decoder.layers = nn.ModuleList([_InPlaceOfLayers(run)])
    inputs = {"position_ids": batch.positions, "attention_mask": mask, "use_cache": False}
    try:
        return model.base_model(batch.ids, **inputs).last_hidden_state
    finally:
        decoder.layers = layers


def _add_(
    layer: nn.Module,
    chain: tuple[str, ...],
    streams: Tensor,
    mask: Tensor,
    rotary: tuple[Tensor, Tensor] | None,
) -> None:
    """Add a sublayer's output to residual streams (streams, rows, length, width) in place."""
    rows = streams.flatten(0, 1)
    size = max(1, CPU_TOKENS // rows.shape[1]) if rows.device.type == "cpu" else len(rows)
    for start in range(0, len(rows), size):
        part, context = rows[start : start + size], {}
        if "self_attn" in chain:
            # In every stream the rows are those of the batch.
            row = torch.arange(start, start + len(part), device=rows.device) % len(mask)
            context["attention_mask"] = mask[row]
            if rotary is not None:
                context["position_embeddings"] = tuple(table[row] for table in rotary)
        part += update(layer, chain, part, **context)


def answer_scores(
    head: nn.Module, batch: Batch, hidden: Tensor, greedy: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Log-likelihoods (streams, scored tokens) from the head's input (streams, answer places,
    width), and with `greedy` whether each token is the most likely one.

    The logits of scored tokens are computed in float32 whatever the model's type: choices often
    differ by less than a step of bfloat16.
    """
    normalizers, best = [], []
    size = CPU_LOGIT_ROWS if hidden.device.type == "cpu" else LOGIT_ROWS
    for rows in hidden.flatten(0, 1).split(LOGIT_ROWS):
        logits = head(rows)
        normalizers += [part.float().logsumexp(-1) for part in logits.split(size)]
        if greedy:
            best.append(logits.argmax(-1))
    weight = head.weight[batch.targets].float()
    scores = torch.stack([(stream[batch.at].float() * weight).sum(-1) for stream in hidden])
    if head.bias is not None:
        scores += head.bias[batch.targets].float()
    scores -= torch.cat(normalizers).view(len(hidden), -1)[:, batch.at]
    if not greedy:
        return scores, None
    return scores, torch.cat(best).view(len(hidden), -1)[:, batch.at] == batch.targets
