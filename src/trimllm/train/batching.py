"""Training examples: which documents an epoch sees, in which order, as which tensors; the loss."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from more_itertools import chunked
from torch import Tensor, nn

from trimllm.base.errors import UserError
from trimllm.data import Document
from trimllm.score import Row, encode_document, fit
from trimllm.score.rows import Batch, batch_of

WINDOW = 16
"""Batches among which documents are sorted by length, so that few tokens are padding."""


class Example(NamedTuple):
    """A document's prompt and right answer, in tokens."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]
    document: Document

    @property
    def length(self) -> int:
        """Tokens that run: the answer's last predicts nothing."""
        return len(self.prompt) + len(self.answer) - 1


def examples_of(
    tokenizer: Any, documents: Sequence[Document], max_length: int | None = None
) -> list[Example]:
    """Every document with its right choice; prompts too long for the model lose their left end."""
    examples = []
    for document in documents:
        prompt, (answer,) = encode_document(tokenizer, document, [document.answer])
        examples.append(Example(tuple(fit(prompt, answer, max_length)), answer, document))
    return examples


def documents_of_epoch(
    documents: Sequence[Document], epoch: int, count: int | None, seed: int
) -> list[Document]:
    """The next `count` documents (None: all) of a shuffled order that goes through all documents
    before it repeats one, so that small epochs see different documents."""
    if not documents:
        raise UserError("there are no training documents")
    count = len(documents) if count is None else count
    first, offset = divmod(epoch * count, len(documents))
    order: list[Document] = []
    while len(order) < offset + count:
        lap = list(documents)
        random.Random(f"{seed} lap {first + len(order) // len(lap)}").shuffle(lap)
        order += lap
    return order[offset : offset + count]


def batches_of(
    examples: Sequence[Example], batch_size: int, seed: int, epoch: int
) -> list[list[Example]]:
    """Shuffled batches whose members have similar lengths."""
    rng = random.Random(f"{seed} epoch {epoch}")
    order = list(examples)
    rng.shuffle(order)
    batches: list[list[Example]] = []
    for window in chunked(order, batch_size * WINDOW):
        batches += chunked(sorted(window, key=lambda example: example.length), batch_size)
    rng.shuffle(batches)
    return batches


def parts_of(batch: Sequence[Example], tokens: int) -> Iterator[Sequence[Example]]:
    """A batch in parts of at most `tokens` tokens with padding, or of one row."""
    first, longest = 0, 0
    for at, row in enumerate(batch):
        longest = max(longest, row.length)
        if at > first and (at + 1 - first) * longest > tokens:
            yield batch[first:at]
            first, longest = at, row.length
    if first < len(batch):
        yield batch[first:]


def packed(examples: Sequence[Example], device: torch.device | str) -> Batch:
    """Examples as tensors, padded on the right to one length."""
    rows = [(at, at, Row(one.prompt, (one.answer,))) for at, one in enumerate(examples)]
    return batch_of(rows, device)


def answer_loss(
    model: nn.Module,
    batch: Batch,
    taught: Tensor | None = None,
    *,
    head: nn.Module | None = None,
    kl: float = 0.0,
    hidden: float = 0.0,
) -> Tensor:
    """Loss summed over the answers' tokens, nats; the head runs only where they are predicted.

    Cross entropy; with a teacher (1 - kl) of it, and kl of the divergence of the prediction from
    the teacher's, by the same head. With `hidden` also, times the number of answer tokens, the mean
    over a row's tokens but the first of |h - t|^2 / |t|^2, h and t the last hidden states: the
    first token's state is many times as large as all others, and the same in every document.

    Args:
        taught: (rows, length, width) the teacher's last hidden states; `kl` and `hidden` need it.
        head: in place of the model's.
        kl, hidden: see `TrainSettings`.
    """
    head = head or model.get_output_embeddings()
    real = batch.segments >= 0
    output = model.base_model(batch.ids, attention_mask=real.long(), use_cache=False)
    states = output.last_hidden_state
    logits = head(states.flatten(0, 1)[batch.places]).float()
    losses = F.cross_entropy(logits, batch.targets, reduction="none")
    if taught is not None and kl:
        with torch.no_grad():
            at_answers = taught.flatten(0, 1)[batch.places].to(states.dtype)
            target = head(at_answers).float().log_softmax(-1)
        divergence = F.kl_div(logits.log_softmax(-1), target, reduction="none", log_target=True)
        losses = (1 - kl) * losses + kl * divergence.sum(-1)
    total = losses.sum()
    if taught is not None and hidden:
        taught, compared = taught.float(), real.clone()
        compared[:, 0] = False
        error = (states.float() - taught).square().sum(-1)
        error = error / taught.square().sum(-1).clamp_min(1e-12)
        mean = (error * compared).sum(-1) / compared.sum(-1).clamp_min(1)
        total = total + hidden * (mean * batch.choice.bincount()).sum()
    return total
