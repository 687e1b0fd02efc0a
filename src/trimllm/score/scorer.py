"""Log-likelihoods of multiple-choice answers from packed rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from trimllm.data import Document
from trimllm.errors import UserError
from trimllm.progress import Progress
from trimllm.score.encode import encode_pair
from trimllm.score.rows import Batch, Row, batches
from trimllm.units import adapter_of, unit_layers
from trimllm.units.adapters import Adapter, Rows, Workspace, device_of

# Rows of logits held at once: 256 x 49,152 float32 are 50 MB.
LOGIT_ROWS = 256


@dataclass(frozen=True)
class Scored:
    """What the model says of one document.

    Attributes:
        log_likelihoods: summed log-likelihood of each choice's tokens, natural logarithm.
        greedy: whether each choice is what greedy decoding would write.
    """

    log_likelihoods: tuple[float, ...]
    greedy: tuple[bool, ...]

    @property
    def best(self) -> int:
        """The choice with the highest log-likelihood; the first of equals, as lm-eval's argmax."""
        return max(range(len(self.log_likelihoods)), key=self.log_likelihoods.__getitem__)


def row_of(tokenizer: Any, document: Document) -> Row:
    """Tokens of a document. `UserError` if a choice has no token of its own."""
    pairs = [encode_pair(tokenizer, document.prompt, choice) for choice in document.choices]
    if not all(tokens for _, tokens in pairs):
        raise UserError(f"a choice of the document {document.prompt[:60]!r} has no tokens")
    return Row(tuple(pairs[0][0]), tuple(tuple(tokens) for _, tokens in pairs))


def fit_rows(rows: Sequence[Row], max_length: int | None) -> tuple[list[Row], list[list[int]]]:
    """Cut rows that do not fit the model the way lm-eval does: from the left, choice by choice.

    Returns the rows to run and, for each original row, which of them hold its choices, in order.
    """
    fitted, holders = [], []
    for row in rows:
        if max_length is None or row.extent <= max_length:
            holders.append([len(fitted)])
            fitted.append(row)
            continue
        holders.append([])
        for choice in row.choices:
            keep = max_length + 1 - len(choice)
            if keep < 1:
                raise UserError(
                    f"a choice of {len(choice)} tokens does not fit the model's {max_length} "
                    "positions"
                )
            holders[-1].append(len(fitted))
            fitted.append(Row(row.prompt[-keep:], (choice,)))
    return fitted, holders


def max_positions(model: nn.Module) -> int | None:
    """Positions that the model was made for."""
    return getattr(model.config, "max_position_embeddings", None)


def answer_scores(
    adapter: Adapter, model: nn.Module, batch: Batch, hidden: Tensor, greedy: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Summed log-likelihood of every choice, from the residual stream after the last unit.

    The head runs only at answer places, a few hundred rows at a time, in float32.

    Args:
        hidden: (streams, tokens, width)
        greedy: also tell whether every token of the choice is the most likely one.

    Returns:
        (streams, choices) float32 log-likelihoods, and the same shape of booleans or None
    """
    streams = hidden.shape[0]
    answers = adapter.finish(model, hidden[:, batch.places]).flatten(0, 1)
    head = model.get_output_embeddings()
    order = torch.argsort(batch.at, stable=True)
    at, targets = batch.at[order], batch.targets[order]
    places = len(batch.places)
    log_probabilities = torch.empty(streams, len(targets), device=hidden.device)
    is_best = torch.empty(streams, len(targets), dtype=torch.bool, device=hidden.device)
    flat_at = (torch.arange(streams, device=at.device)[:, None] * places + at).flatten()
    flat_targets = targets.repeat(streams)
    flat_log, flat_best = log_probabilities.view(-1), is_best.view(-1)
    for start in range(0, len(answers), LOGIT_ROWS):
        logits = head(answers[start : start + LOGIT_ROWS]).float()
        # flat_at is sorted, so what these rows predict is one slice of it
        bounds = torch.tensor([start, start + len(logits)], device=at.device)
        first, last = torch.searchsorted(flat_at, bounds).tolist()
        rows, tokens = flat_at[first:last] - start, flat_targets[first:last]
        flat_log[first:last] = logits[rows, tokens] - logits.logsumexp(-1)[rows]
        if greedy:
            flat_best[first:last] = logits.argmax(-1)[rows] == tokens
    choice_of = batch.choice_of[order]
    sums = torch.zeros(streams, sum(batch.choices), device=hidden.device)
    sums.index_add_(1, choice_of, log_probabilities)
    if not greedy:
        return sums, None
    wrong = torch.zeros(streams, sum(batch.choices), device=hidden.device)
    wrong.index_add_(1, choice_of, (~is_best).float())
    return sums, wrong == 0


def start_rows(
    adapter: Adapter, model: nn.Module, batch: Batch, work: Workspace
) -> tuple[Tensor, Rows]:
    """The residual stream before the first unit (1, tokens, width), and what units need."""
    hidden = adapter.embed(model, batch.ids, batch.positions)
    rows = Rows(batch.positions, batch.attend, work)
    adapter.prepare(model, rows, hidden)
    return hidden, rows


@torch.inference_mode()
def score_rows(
    model: nn.Module,
    rows: Sequence[Row],
    *,
    token_budget: int = 2048,
    progress: Progress | None = None,
) -> list[Scored]:
    """Score packed rows, in the order given.

    Args:
        token_budget: packed tokens that run at once; bounds memory, not results.
        progress: counts rows and tokens.
    """
    adapter, layers = adapter_of(model), unit_layers(model)
    fitted, holders = fit_rows(rows, max_positions(model))
    work = Workspace()
    found: list[tuple[list[float], list[bool]]] = [([], [])] * len(fitted)
    for batch in batches(fitted, token_budget, device_of(model)):
        hidden, shared = start_rows(adapter, model, batch, work)
        for unit, layer in layers:
            adapter.apply_(layer, unit.kind, hidden, shared)
        sums, greedy = answer_scores(adapter, model, batch, hidden, greedy=True)
        values, flags = sums[0].tolist(), greedy[0].tolist()
        start = 0
        for index, count in zip(batch.order, batch.choices, strict=True):
            found[index] = values[start : start + count], flags[start : start + count]
            start += count
        if progress:
            progress.update(len(batch.order), batch.tokens)
    return [
        Scored(
            tuple(value for part in parts for value in found[part][0]),
            tuple(flag for part in parts for flag in found[part][1]),
        )
        for parts in holders
    ]


def score(
    model: nn.Module, tokenizer: Any, documents: Sequence[Document], *, token_budget: int = 2048
) -> list[Scored]:
    """Score documents: summed log-likelihood of every choice after its prompt."""
    rows = [row_of(tokenizer, document) for document in documents]
    return score_rows(model, rows, token_budget=token_budget)
