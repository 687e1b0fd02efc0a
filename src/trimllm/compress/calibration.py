"""Texts as rows of tokens, and the loss that a checkpoint is judged by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trimllm.errors import UserError


def encode(tokenizer: Any, texts: Sequence[str], max_tokens: int) -> list[list[int]]:
    """Token ids of every text, without padding, cut after `max_tokens`."""
    return [tokenizer(text).input_ids[:max_tokens] for text in texts]


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


@torch.no_grad()
def mean_loss(
    model: nn.Module, encoded: Sequence[Sequence[int]], dtype: torch.dtype = torch.float32
) -> float:
    """Mean cross-entropy in nats a token of a language model, each text a row of its own.

    Args:
        dtype: type of the matrix products of a model with float32 weights.

    Raises `UserError` when there is no token to predict.
    """
    device = model.get_input_embeddings().weight.device
    rounded = torch.autocast(device.type, dtype, enabled=dtype != torch.float32)
    total, tokens = 0.0, 0
    for ids in encoded:
        if len(ids) < 2:
            continue
        row = torch.tensor([list(ids)], device=device)
        with rounded:
            logits = model(row).logits[0, :-1].float()
        total += F.cross_entropy(logits, row[0, 1:], reduction="sum").item()
        tokens += len(ids) - 1
    if not tokens:
        raise UserError("the held-back texts hold no two tokens in a row; give longer texts")
    return total / tokens
