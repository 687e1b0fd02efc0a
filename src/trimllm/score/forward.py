"""Log-likelihoods of answers: a model's own forward pass with other code for its decoder layers.

Embeddings, positions, final norm and head are the stock model's, so nothing here depends on how a
family computes them; sublayers run one at a time, on any number of residual streams.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from trimllm.data import Document
from trimllm.score.encode import encode_document
from trimllm.score.rows import Batch, Row, batches
from trimllm.sublayers import adapter_of, device_of, unit_layers
from trimllm.sublayers.families import window_of
from trimllm.sublayers.modeling_trimllm import decoder_of, update

# Tokens that run through a sublayer at once on a CPU: its activations then stay in the cache.
CPU_TOKENS = 1024
# Rows of logits in memory at once, and those that a CPU normalizes at once, in its cache: a quarter
# of the time.
LOGIT_ROWS, CPU_LOGIT_ROWS = 256, 4


@dataclass(frozen=True)
class Scored:
    """Scores of one document, a value a choice."""

    log_likelihoods: tuple[float, ...]  # of all tokens of a choice, natural logarithm
    tokens: tuple[int, ...]  # number of its tokens

    @property
    def best(self) -> int:
        """The choice with the highest log-likelihood; the first of equals, as lm-eval's argmax."""
        return max(range(len(self.log_likelihoods)), key=self.log_likelihoods.__getitem__)


def max_positions(model: nn.Module) -> int | None:
    """Positions that the model was made for."""
    return getattr(model.config, "max_position_embeddings", None)


def score(
    model: nn.Module, tokenizer: Any, documents: Sequence[Document], *, token_budget: int = 2048
) -> list[Scored]:
    """Score documents: summed log-likelihood of every choice after its prompt."""
    rows = [encode_document(tokenizer, document) for document in documents]
    return score_rows(model, rows, token_budget=token_budget)


@torch.inference_mode()
def score_rows(model: nn.Module, rows: Sequence[Row], *, token_budget: int = 2048) -> list[Scored]:
    """Score packed rows, in the order given; `token_budget` packed tokens run at once, which bounds
    memory and changes no result."""
    head, counts = model.get_output_embeddings(), [len(row.choices) for row in rows]
    sums = torch.zeros(sum(counts), device=device_of(model))
    for batch in batches(rows, token_budget, max_positions(model), sums.device):
        scores = answer_scores(head, batch, answer_states(model, batch))
        sums.index_add_(0, batch.choice, scores[0])
    return [
        Scored(tuple(scores.tolist()), tuple(map(len, row.choices)))
        for row, scores in zip(rows, sums.cpu().split(counts), strict=True)
    ]


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
            _add_(layer, parts[unit.kind], streams[:running].flatten(0, 1), mask, rotary)
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
    layer: nn.Module, chain: tuple[str, ...], rows: Tensor, mask: Tensor, rotary: Any
) -> None:
    """Add a sublayer's output in place to (streams x rows, length, width) residual streams."""
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


def answer_scores(head: nn.Module, batch: Batch, hidden: Tensor) -> Tensor:
    """Log-likelihoods (streams, scored tokens) from the head's input (streams, answer places,
    width), in float32 whatever the model's type: choices often differ by less than a step of
    bfloat16."""
    size = CPU_LOGIT_ROWS if hidden.device.type == "cpu" else LOGIT_ROWS
    normalizers = [
        logits.float().logsumexp(-1)
        for rows in hidden.flatten(0, 1).split(LOGIT_ROWS)
        for logits in head(rows).split(size)
    ]
    weight = head.weight[batch.targets].float()
    scores = torch.stack([(stream[batch.at].float() * weight).sum(-1) for stream in hidden])
    if head.bias is not None:
        scores += head.bias[batch.targets].float()
    return scores - torch.cat(normalizers).view(len(hidden), -1)[:, batch.at]
