"""Log-likelihoods of multiple-choice answers from packed rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from trimllm.data import Document
from trimllm.score.encode import encode_document
from trimllm.score.forward import answer_scores, answer_states
from trimllm.score.rows import Row, batches
from trimllm.sublayers import device_of


@dataclass(frozen=True)
class Scored:
    """Scores of one document, a value a choice."""

    log_likelihoods: tuple[float, ...]  # of all tokens of a choice, natural logarithm
    greedy: tuple[bool, ...]  # whether greedy decoding would write it
    tokens: tuple[int, ...]  # number of its tokens

    @property
    def best(self) -> int:
        """The choice with the highest log-likelihood; the first of equals, as lm-eval's argmax."""
        return max(range(len(self.log_likelihoods)), key=self.log_likelihoods.__getitem__)


def max_positions(model: nn.Module) -> int | None:
    """Positions that the model was made for."""
    return getattr(model.config, "max_position_embeddings", None)


@torch.inference_mode()
def score_rows(model: nn.Module, rows: Sequence[Row], *, token_budget: int = 2048) -> list[Scored]:
    """Score packed rows, in the order given.

    Args:
        token_budget: packed tokens that run at once; bounds memory, not results.
    """
    head, counts = model.get_output_embeddings(), [len(row.choices) for row in rows]
    sums, misses = torch.zeros(2, sum(counts), device=device_of(model))
    for batch in batches(rows, token_budget, max_positions(model), sums.device):
        scores, greedy = answer_scores(head, batch, answer_states(model, batch), greedy=True)
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
    rows = [encode_document(tokenizer, document) for document in documents]
    return score_rows(model, rows, token_budget=token_budget)
