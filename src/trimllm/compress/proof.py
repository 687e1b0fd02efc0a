"""A compressed checkpoint is checked: loaded by a fresh process, it must know its language.

Answers to held-back prompts count, compared with the method's yardstick. Whole texts would not do:
half trimmed on MedMCQA, the default's model has a loss of 0.00 on answers and of 27 nats a token on
whole texts, where a broken checkpoint would not stand out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm.base.kernels import method_of
from trimllm.base.precision import compute_dtype
from trimllm.base.workers import environment, run_worker
from trimllm.checkpoint import load
from trimllm.score.encode import encode_pair

HeldBack = str | tuple[str, str]  # a text, or a prompt and the answer to it
ScoredRow = tuple[list[int], int]  # token ids, and the place of the first one that is scored


def scored_rows(tokenizer: Any, held_back: Sequence[HeldBack], max_tokens: int) -> list[ScoredRow]:
    """Held-back texts as rows of tokens, cut from the left to `max_tokens`. Of a pair the answer is
    scored, of a text all tokens but the first."""
    rows: list[ScoredRow] = []
    for one in held_back:
        if isinstance(one, str):
            prompt, rest = list[int](), tokenizer(one).input_ids
        else:
            prompt, rest = encode_pair(tokenizer, *one)
        cut = max(0, len(prompt) + len(rest) - max_tokens)
        rows.append(([*prompt, *rest][cut:], max(1, len(prompt) - cut)))
    return rows


@torch.no_grad()
def mean_loss(model: nn.Module, rows: Sequence[ScoredRow]) -> float:
    """Mean cross-entropy of the scored tokens, in nats a token, by the model's own forward pass."""
    total, tokens = 0.0, 0
    for ids, first in rows:
        if len(ids) > first:
            row = torch.tensor([ids], device=model.get_input_embeddings().weight.device)
            answer = row[0, first:]
            logits = model(row, logits_to_keep=len(answer) + 1, use_cache=False).logits[0, :-1]
            total += F.cross_entropy(logits.float(), answer, reduction="sum").item()
            tokens += len(answer)
    if not tokens:
        raise UserError("the held-back texts hold no two tokens in a row; give longer texts")
    return total / tokens


class Worker:
    """The child of `fresh_loss`; `facts` is the loss."""

    def __init__(self, checkpoint: str, rows: Sequence[ScoredRow], device: str) -> None:
        # Packed weights come with kernels that have a type of their own.
        packed = method_of(files.read_json(Path(checkpoint) / "config.json"))
        dtype = "float32" if packed else compute_dtype("auto", device)
        self.facts = mean_loss(load(checkpoint, dtype=dtype, device=device, verify=False)[0], rows)


def fresh_loss(checkpoint: Path, rows: Sequence[ScoredRow], device: str, threads: int) -> float:
    """Mean loss in nats a token of a checkpoint, loaded by a process of its own."""
    job = {"checkpoint": str(checkpoint), "rows": rows, "device": device}
    return run_worker(__file__, job, name="reload", variables=environment(threads))


def judge(loss: float, yardstick: float, margin: float, what: str, name: str) -> None:
    """Raise `UserError` unless `loss` is at most `yardstick` + `margin`, all in nats a token."""
    if not loss <= yardstick + margin:  # also for a loss that is no number
        raise UserError(
            f"{what}: loss {loss:.3f} on held-back texts is worse than {name}'s {yardstick:.3f} "
            f"by more than {margin:g}: the result is broken and was not kept; give more "
            "calibration texts, or another engine"
        )
