"""A checkpoint proves itself: loaded by a fresh process, it must still know its language.

`python -m trimllm.compress.proof CHECKPOINT ROWS DEVICE` prints the mean loss of a checkpoint on
scored rows (a JSON file).

What counts are answers to held-back prompts, against the method's yardstick. Whole texts would not
do: half trimmed on MedMCQA, the default's model has a loss of 0.00 on answers, and of 27 nats a
token on whole texts, where a broken checkpoint would not stand out.
"""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from trimllm.base import environments, files
from trimllm.base.errors import UserError
from trimllm.base.kernels import method_of
from trimllm.base.precision import compute_dtype
from trimllm.base.together import parts_of
from trimllm.checkpoint import load
from trimllm.data import Document
from trimllm.score.encode import encode_pair, texts_of

# A text, or a prompt and the answer to it.
HeldBack = str | tuple[str, str]
# Token ids, and the place of the first one that is scored.
ScoredRow = tuple[Sequence[int], int]
# Tokens that run at once, those that pad included; a longer row runs alone.
BATCH_TOKENS = 512
IGNORED = -100  # cross-entropy's own


def answered(tokenizer: Any, documents: Iterable[Document], at_most: int) -> list[tuple[str, str]]:
    """The first different documents, at most so many, as prompts with their right answers."""
    return list(dict.fromkeys(texts_of(tokenizer, documents)))[:at_most]


def scored_rows(tokenizer: Any, held_back: Sequence[HeldBack], max_tokens: int) -> list[ScoredRow]:
    """Held-back texts as rows of tokens, cut from the left to `max_tokens`.

    Of a pair, prompt and answer, the answer is scored: a trimmed model that was trained on answers
    only has forgotten how prompts go on. Of a text all that can be predicted is scored.
    """
    rows: list[ScoredRow] = []
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
    """Mean cross-entropy of the scored tokens of some rows, in nats a token; `UserError` if none.

    By the model's own forward pass, as whoever loads the checkpoint runs it.
    """
    device = model.get_input_embeddings().weight.device
    scored = sorted((row for row in rows if len(row[0]) > row[1]), key=lambda row: len(row[0]))
    if not scored:
        raise UserError("the held-back texts hold no two tokens in a row; give longer texts")
    total = 0.0
    for batch in parts_of(scored, BATCH_TOKENS, lambda row: len(row[0])):
        texts = [torch.tensor(list(ids), device=device) for ids, _ in batch]
        answers = [text.clone() for text in texts]
        for answer, (_, first) in zip(answers, batch, strict=True):
            answer[:first] = IGNORED
        # What stands after a text is never seen by it: attention is causal.
        padded = pad_sequence(texts, batch_first=True)
        targets = pad_sequence(answers, batch_first=True, padding_value=IGNORED)
        places = len(texts[-1]) - min(first for _, first in batch)
        logits = model(padded, logits_to_keep=places + 1, use_cache=False).logits[:, :-1]
        found = F.cross_entropy(logits.float().mT, targets[:, -places:], reduction="sum")
        total += found.item()
    return total / sum(len(ids) - first for ids, first in scored)


def fresh_loss(
    checkpoint: Path, rows: Sequence[ScoredRow], workspace: Path, device: str, threads: int
) -> float:
    """Mean loss in nats a token of a checkpoint, loaded by a process of its own."""
    file = workspace / "held_back.json"
    files.write_json(file, rows)
    command = [sys.executable, "-m", "trimllm.compress.proof", str(checkpoint)]
    command += [str(file), device]
    environment = environments.ours(threads)
    run = subprocess.run(command, capture_output=True, text=True, env=environment)
    if run.returncode:
        last = (run.stderr.strip().splitlines() or [f"exit code {run.returncode}"])[-1]
        raise UserError(f"the compressed checkpoint cannot be loaded by a fresh process: {last}")
    return float(run.stdout.split()[-1])


def judge(loss: float, yardstick: float, margin: float, what: str, name: str) -> None:
    """Raise `UserError` unless `loss` is at most `yardstick` + `margin`, all in nats a token."""
    # Written so that a loss that is no number fails.
    if not loss <= yardstick + margin:
        raise UserError(
            f"{what}: loss {loss:.3f} on held-back texts is worse than {name}'s {yardstick:.3f} "
            f"by more than {margin:g}: the compressed checkpoint is broken and was not kept; give "
            "more calibration texts, or another engine"
        )


def _main(checkpoint: str, rows: str, device: str) -> None:
    # Imports leave no garbage: looking for it at the end would take more than a second.
    gc.freeze()
    # Packed weights come with kernels that have a type of their own.
    packed = method_of(files.read_json(Path(checkpoint) / "config.json"))
    dtype = "float32" if packed else compute_dtype("auto", device)
    model, _ = load(checkpoint, dtype=dtype, device=device, verify=False)
    print(mean_loss(model, files.read_json(rows)))


if __name__ == "__main__":
    _main(*sys.argv[1:])
