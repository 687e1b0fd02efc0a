"""Texts as rows of tokens, and the loss that a checkpoint is judged by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trimllm.base.errors import UserError
from trimllm.score.encode import encode_pair

# A text, or a prompt and the answer to it.
HeldBack = str | tuple[str, str]
# Token ids, and the place of the first one that is scored.
ScoredRow = tuple[Sequence[int], int]


def pack(encoded: Sequence[Sequence[int]], row_tokens: int) -> list[Tensor]:
    """Texts end to end in rows of at most `row_tokens` tokens, each (1, tokens).

    Calibration looks at inputs of linear layers, of which a long row gives as many as several
    short ones, in larger matrix products. No text is cut.
    """
    rows: list[list[int]] = []
    for ids in encoded:
        if rows and len(rows[-1]) + len(ids) <= row_tokens:
            rows[-1].extend(ids)
        elif ids:
            rows.append(list(ids))
    return [torch.tensor([row]) for row in rows]


def equal_blocks(encoded: Sequence[Sequence[int]], longest: int) -> list[list[int]]:
    """Texts end to end, cut into blocks of one length, at most `longest` tokens.

    So that fewer tokens than there are blocks are lost.
    """
    ids = [one for text in encoded for one in text]
    count = -(-len(ids) // longest)
    length = len(ids) // count
    return [ids[at * length : (at + 1) * length] for at in range(count)]


def shares(
    documents: Sequence[tuple[str, str]], calibration: int, held_back: int
) -> tuple[list[str], list[tuple[str, str]]]:
    """Texts to calibrate on, and other documents to prove a checkpoint on.

    Of too few documents the proof takes its share first: without one no checkpoint is kept.

    Args:
        documents: prompts and answers; what is there twice is taken once.
        calibration, held_back: how many of each are wanted.
    """
    different = list(dict.fromkeys(documents))
    count = min(calibration, max(0, len(different) - held_back))
    return ["".join(pair) for pair in different[:count]], different[count:][:held_back]


def scored_rows(tokenizer: Any, held_back: Sequence[HeldBack], max_tokens: int) -> list[ScoredRow]:
    """Held-back texts as rows of tokens, cut from the left to `max_tokens`.

    Of a pair, prompt and answer, the answer is scored: a trimmed model that was trained on answers
    only has forgotten how prompts go on. Of a text all that can be predicted is scored.
    """
    rows = []
    for one in held_back:
        if isinstance(one, str):
            ids, first = tokenizer(one).input_ids, 1
        else:
            prompt, answer = encode_pair(tokenizer, *one)
            ids, first = [*prompt, *answer], len(prompt)
        cut = max(0, len(ids) - max_tokens)
        rows.append((list(ids[cut:]), max(1, first - cut)))
    return rows


@torch.no_grad()
def mean_loss(model: nn.Module, rows: Sequence[ScoredRow]) -> float:
    """Mean cross-entropy of the scored tokens of some rows, in nats a token.

    By the model's own forward pass, as whoever loads the checkpoint runs it.

    Raises `UserError` when there is no token to predict.
    """
    device = model.get_input_embeddings().weight.device
    total, tokens = 0.0, 0
    for ids, first in rows:
        scored = len(ids) - first
        if scored <= 0:
            continue
        row = torch.tensor([list(ids)], device=device)
        logits = model(row, logits_to_keep=scored + 1, use_cache=False).logits[0, :-1].float()
        total += F.cross_entropy(logits, row[0, first:], reduction="sum").item()
        tokens += scored
    if not tokens:
        raise UserError("the held-back texts hold no two tokens in a row; give longer texts")
    return total / tokens
