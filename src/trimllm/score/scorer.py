"""Log-likelihoods of multiple-choice answers from packed rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trimllm.base.errors import UserError
from trimllm.data import Document
from trimllm.score.encode import encode_document
from trimllm.score.rows import Batch, Row, batches
from trimllm.sublayers import adapter_of, unit_layers
from trimllm.sublayers.adapters import Adapter, Rows, Workspace, device_of
from trimllm.sublayers.presence import present

# Rows of logits held at once, and tokens of the vocabulary on a CPU: 2 MB in float32.
LOGIT_ROWS = 256
VOCABULARY_PART = 2048


@dataclass(frozen=True)
class Scored:
    """What the model says of one document.

    Attributes:
        log_likelihoods: summed log-likelihood of each choice's tokens, natural logarithm.
        tokens: number of tokens of each choice.
        greedy: whether each choice is what greedy decoding would write.
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


def fit_rows(rows: Sequence[Row], max_length: int | None) -> list[tuple[int, Row]]:
    """Cut rows that do not fit the model the way lm-eval does: from the left, choice by choice.

    Returns the rows to run, each with the index of the row whose choices it holds, in order.
    """
    fitted = []
    for index, row in enumerate(rows):
        if max_length is None or row.extent <= max_length:
            fitted.append((index, row))
            continue
        for choice in row.choices:
            keep = max_length + 1 - len(choice)
            if keep < 1:
                raise UserError(
                    f"a choice of {len(choice)} tokens does not fit the model's {max_length} "
                    "positions"
                )
            fitted.append((index, Row(row.prompt[-keep:], (choice,))))
    return fitted


def max_positions(model: nn.Module) -> int | None:
    """Positions that the model was made for."""
    return getattr(model.config, "max_position_embeddings", None)


def answer_scores(
    adapter: Adapter, model: nn.Module, batch: Batch, answers: Tensor, greedy: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Summed log-likelihood of every choice, from the residual stream after the last unit.

    The logits of the tokens that count are taken in float32 whatever the model's type, since
    choices often differ by less than a step of bfloat16.

    Args:
        answers: (streams, answer places, width), the residual stream at the answer places only.
        greedy: also tell whether every token of the choice is the most likely one. Without it
            the log-likelihoods of a row's choices lack a term that they have in common, the
            normalizer of their first token, which then need not be computed.

    Returns:
        (streams, choices) float32 log-likelihoods, and the same shape of booleans or None
    """
    streams, head = len(answers), model.get_output_embeddings()
    answers = adapter.finish(model, answers)
    # (streams, scored tokens): the logits of the scored tokens at their places
    weight = head.weight[batch.targets].float()
    found = torch.stack([(rows[batch.at].float() * weight).sum(-1) for rows in answers])
    found = found if head.bias is None else found + head.bias[batch.targets].float()
    asked = torch.unique(batch.at if greedy else batch.at[~batch.common])
    best = None
    if len(asked):
        # a place that is not asked for has the normalizer 0
        normalizer = found.new_zeros(streams, len(batch.places))
        log_sums, largest = _over_vocabulary(head, answers[:, asked].flatten(0, 1), greedy)
        normalizer[:, asked] = log_sums.view(streams, -1)
        found -= normalizer[:, batch.at]
        if largest is not None:
            best = largest.view(streams, -1)[:, torch.searchsorted(asked, batch.at)]
    sums = found.new_zeros(streams, sum(batch.choices)).index_add_(1, batch.choice_of, found)
    if best is None:
        return sums, None
    wrong = torch.zeros_like(sums).index_add_(1, batch.choice_of, (best != batch.targets).float())
    return sums, wrong == 0


def _over_vocabulary(head: nn.Module, rows: Tensor, greedy: bool) -> tuple[Tensor, Tensor | None]:
    """(rows,) log-sum-exp of all logits, and the token with the largest, for rows (rows, width).

    On a CPU the vocabulary is taken in parts whose logits stay in the cache.
    """
    count, _ = head.weight.shape
    part, some = (VOCABULARY_PART, LOGIT_ROWS) if rows.is_cpu else (count, LOGIT_ROWS)
    parts = range(0, count, part)
    sums = torch.empty(len(rows), len(parts), device=rows.device)
    values, tokens = torch.empty_like(sums), sums.new_empty(sums.shape, dtype=torch.long)
    for number, first in enumerate(parts):
        weight = head.weight[first : first + part]
        bias = None if head.bias is None else head.bias[first : first + part]
        for start in range(0, len(rows), some):
            block = slice(start, start + some)
            logits = F.linear(rows[block], weight, bias).float()
            sums[block, number] = logits.logsumexp(-1)
            if greedy:
                values[block, number], at = logits.max(-1)
                tokens[block, number] = at + first
    if not greedy:
        return sums.logsumexp(-1), None
    winner = values.argmax(-1, keepdim=True)
    return sums.logsumexp(-1), tokens.gather(-1, winner).squeeze(-1)


def start_rows(
    adapter: Adapter, model: nn.Module, batch: Batch, work: Workspace
) -> tuple[Tensor, Rows]:
    """The residual stream before the first unit (1, tokens, width), and what units need."""
    hidden = adapter.embed(model, batch.ids, batch.positions)
    rows = Rows(batch.positions, batch.attend, work)
    adapter.prepare(model, rows, hidden)
    return hidden, rows


@torch.inference_mode()
def score_rows(model: nn.Module, rows: Sequence[Row], *, token_budget: int = 2048) -> list[Scored]:
    """Score packed rows, in the order given.

    Args:
        token_budget: packed tokens that run at once; bounds memory, not results.
    """
    adapter, layers = adapter_of(model), unit_layers(model)
    fitted = fit_rows(rows, max_positions(model))
    work = Workspace()
    found: dict[int, tuple[list[float], list[bool]]] = {}
    for batch in batches([row for _, row in fitted], token_budget, device_of(model)):
        hidden, shared = start_rows(adapter, model, batch, work)
        for unit, layer in layers:
            with present(layer, unit.kind):
                adapter.apply_(layer, unit.kind, hidden, shared)
        both = answer_scores(adapter, model, batch, hidden[:, batch.places], greedy=True)
        parts = (tensor[0].cpu().split(batch.choices) for tensor in both if tensor is not None)
        for part, values, flags in zip(batch.order, *parts, strict=True):
            found[part] = values.tolist(), flags.tolist()
    whole: list[tuple[list[float], list[bool]]] = [([], []) for _ in rows]
    for part, (index, _) in enumerate(fitted):
        whole[index][0].extend(found[part][0])
        whole[index][1].extend(found[part][1])
    lengths = [tuple(len(choice) for choice in row.choices) for row in rows]
    return [
        Scored(tuple(values), tuple(greedy), tokens)
        for (values, greedy), tokens in zip(whole, lengths, strict=True)
    ]


def score(
    model: nn.Module, tokenizer: Any, documents: Sequence[Document], *, token_budget: int = 2048
) -> list[Scored]:
    """Score documents: summed log-likelihood of every choice after its prompt."""
    rows = [row_of(tokenizer, document) for document in documents]
    return score_rows(model, rows, token_budget=token_budget)
