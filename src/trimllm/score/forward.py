"""A model's own forward pass with other code in the place of its decoder layers.

Embeddings, positions, final norm and head are the stock model's, so nothing here depends on how a
family computes them; sublayers run one at a time, on any number of residual streams.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from trimllm.score.rows import Batch
from trimllm.sublayers.families import adapter_of, window_of
from trimllm.sublayers.modeling_trimllm import decoder_of, update

# Tokens that run through a sublayer at once on a CPU: its activations then stay in the cache.
CPU_TOKENS = 1024
# Rows of logits in memory at once, and those that a CPU normalizes at once, in its cache: a quarter
# of the time.
LOGIT_ROWS, CPU_LOGIT_ROWS = 256, 4


class Sublayers:
    """The sublayers of a model on the rows of a batch."""

    def __init__(self, model: nn.Module, batch: Batch, rotary: tuple[Tensor, Tensor] | None):
        self.parts, self.rotary = adapter_of(model).parts, rotary
        self.mask = batch.mask(window_of(model.config), model.dtype)

    def add_(self, layer: nn.Module, kind: str, streams: Tensor) -> None:
        """Add a sublayer's output to residual streams (streams, rows, length, width) in place."""
        rows = streams.flatten(0, 1)
        size = len(rows)
        if rows.device.type == "cpu":
            size = max(1, CPU_TOKENS // rows.shape[1])
        for part, start in zip(rows.split(size), range(0, len(rows), size), strict=True):
            context: dict[str, Any] = {}
            if kind == "attention":
                # In every stream the rows are those of the batch.
                row = torch.arange(start, start + len(part), device=rows.device) % len(self.mask)
                context["attention_mask"] = self.mask[row]
                if self.rotary is not None:
                    context["position_embeddings"] = tuple(table[row] for table in self.rotary)
            part += update(layer, self.parts[kind], part, **context)


class _InPlaceOfLayers(nn.Module):
    def __init__(self, through: Callable[..., Tensor]) -> None:
        super().__init__()
        self.through = through

    def forward(self, hidden_states: Tensor, **kwargs: Any) -> Tensor:
        return self.through(hidden_states, kwargs.get("position_embeddings"))


def run_through(
    model: nn.Module, batch: Batch, run: Callable[[Tensor, Sublayers], Tensor]
) -> Tensor:
    """The head's input (streams, answer places, width).

    Args:
        run: takes the residual stream before the first sublayer (rows, length, width) and the
            sublayers; returns streams (streams, rows, length, width) after the last.
    """
    decoder = decoder_of(model)
    layers = decoder.layers

    def through(hidden: Tensor, rotary: tuple[Tensor, Tensor] | None) -> Tensor:
        decoder.layers = layers  # the model is whole again while its sublayers run
        streams = run(hidden, Sublayers(model, batch, rotary))
        return streams.flatten(1, 2)[:, batch.places]

    decoder.layers = nn.ModuleList([_InPlaceOfLayers(through)])
    try:
        return model.base_model(
            batch.ids,
            position_ids=batch.positions,
            attention_mask=batch.mask(None, model.dtype),
            use_cache=False,
        ).last_hidden_state
    finally:
        decoder.layers = layers


def answer_scores(
    head: nn.Module, batch: Batch, hidden: Tensor, greedy: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Log-likelihood of every scored token from the head's input at the answer places.

    The logits of scored tokens are computed in float32 whatever the model's type: choices often
    differ by less than a step of bfloat16.

    Args:
        hidden: (streams, answer places, width).
        greedy: also return whether each token is the most likely one.

    Returns:
        (streams, scored tokens) float32, and booleans of the same shape or None.
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
