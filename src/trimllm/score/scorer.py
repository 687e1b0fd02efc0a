"""Log-likelihoods of multiple-choice answers from packed rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from trimllm.data import Document
from trimllm.score.encode import encode_document
from trimllm.score.forward import Sublayers, answer_scores, run_through
from trimllm.score.rows import Row, batches
from trimllm.sublayers import device_of, unit_layers


@dataclass(frozen=True)
class Scored:
    """Scores of one document.

    Attributes:
        log_likelihoods: summed log-likelihood of each choice's tokens, natural logarithm.
        greedy: whether each choice is what greedy decoding would write.
        tokens: number of tokens of each choice.
    """

    log_likelihoods: tuple[float, ...]
    greedy: tuple[bool, ...]
    tokens: tuple[int, ...]

    @property
    def best(self) -> int:
        """The choice with the highest log-likelihood; the first of equals, as lm-eval's argmax."""
        return max(range(len(self.log_likelihoods)), key=self.log_likelihoods.__getitem__)


def row_of(tokenizer: Any, document: Document) -> Row:
    """Tokens of a document. `UserError` if a choice has no token of its own."""
    prompt, choices = encode_document(tokenizer, document)
    return Row(tuple(prompt), tuple(map(tuple, choices)))


def max_positions(model: nn.Module) -> int | None:
    """Positions that the model was made for."""
    return getattr(model.config, "max_position_embeddings", None)


@torch.inference_mode()
def score_rows(model: nn.Module, rows: Sequence[Row], *, token_budget: int = 2048) -> list[Scored]:
    """Score packed rows, in the order given.

    Args:
        token_budget: packed tokens that run at once; bounds memory, not results.
    """
    layers, head = unit_layers(model), model.get_output_embeddings()
    counts = [len(row.choices) for row in rows]
    sums, misses = torch.zeros(2, sum(counts), device=device_of(model))

    def run(hidden: Tensor, sublayers: Sublayers) -> Tensor:
        streams = hidden[None].clone()
        for unit, layer in layers:
            sublayers.add_(layer, unit.kind, streams)
        return streams

    for batch in batches(rows, token_budget, max_positions(model), sums.device):
        scores, greedy = answer_scores(head, batch, run_through(model, batch, run), greedy=True)
        sums.index_add_(0, batch.choice, scores[0])
        assert greedy is not None  # as `greedy=True`
        misses.index_add_(0, batch.choice, (~greedy[0]).float())
    parts = (tensor.cpu().split(counts) for tensor in (sums, misses == 0))
    return [
        Scored(tuple(scores.tolist()), tuple(greedy.tolist()), tuple(map(len, row.choices)))
        for row, scores, greedy in zip(rows, *parts, strict=True)
    ]


def score(
    model: nn.Module, tokenizer: Any, documents: Sequence[Document], *, token_budget: int = 2048
) -> list[Scored]:
    """Score documents: summed log-likelihood of every choice after its prompt."""
    rows = [row_of(tokenizer, document) for document in documents]
    return score_rows(model, rows, token_budget=token_budget)
