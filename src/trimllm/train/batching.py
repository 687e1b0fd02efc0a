"""Training examples: which documents an epoch sees, in which order, as which tensors; the loss."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from more_itertools import chunked
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from trimllm.base.errors import UserError
from trimllm.data import Document
from trimllm.score import encode_pair

# Batches among which documents are sorted by length, so that few tokens are padding.
WINDOW = 16
# Label of a token that the loss does not count.
IGNORED = -100


@dataclass(frozen=True)
class Example:
    """A prompt and its right answer, in tokens."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.answer)


def examples_of(
    tokenizer: Any, documents: Sequence[Document], max_length: int | None = None
) -> list[Example]:
    """Tokens of every document with its right choice; long prompts lose their left end."""
    examples = []
    for document in documents:
        prompt, answer = encode_pair(tokenizer, document.prompt, document.choices[document.answer])
        if max_length is not None and len(prompt) + len(answer) > max_length + 1:
            answer = answer[:max_length]
            prompt = prompt[-(max_length + 1 - len(answer)) :]
        examples.append(Example(tuple(prompt), tuple(answer)))
    return examples


def documents_of_epoch(
    documents: Sequence[Document], epoch: int, count: int | None, seed: int
) -> list[Document]:
    """The documents of an epoch: the next `count` of a shuffled order that never stops.

    The order goes through all documents before it repeats one, so that small epochs see different
    documents; with `count` None an epoch is all of them.
    """
    if not documents:
        raise UserError("there are no training documents")
    count = len(documents) if count is None else count
    first, offset = divmod(epoch * count, len(documents))

    def order() -> Iterator[Document]:
        for lap in itertools.count(first):
            shuffled = list(documents)
            random.Random(f"{seed} lap {lap}").shuffle(shuffled)
            yield from shuffled

    return list(itertools.islice(order(), offset, offset + count))


def batches_of(
    examples: Sequence[Example], batch_size: int, seed: int, epoch: int
) -> list[list[Example]]:
    """Shuffled batches whose members have similar lengths."""
    rng = random.Random(f"{seed} epoch {epoch}")
    order = list(examples)
    rng.shuffle(order)
    batches: list[list[Example]] = []
    for window in chunked(order, batch_size * WINDOW):
        batches += chunked(sorted(window, key=len), batch_size)
    rng.shuffle(batches)
    return batches


class Tensors(NamedTuple):
    """A batch padded on the right, each (rows, tokens); the answer's last token is left out.

    Attributes:
        ids, mask: mask is 1 for real tokens.
        labels: the answer's token where one is predicted, else IGNORED.
    """

    ids: Tensor
    mask: Tensor
    labels: Tensor


def tensors_of(batch: Sequence[Example], padding: int, device: torch.device | str) -> Tensors:
    """Pad a batch."""
    rows = []
    for example in batch:
        ids = torch.tensor(example.prompt + example.answer)
        labels = ids[1:].clone()
        labels[: len(example.prompt) - 1] = IGNORED
        rows.append((ids[:-1], torch.ones_like(labels), labels))
    parts = zip(zip(*rows, strict=True), (padding, 0, IGNORED), strict=True)
    return Tensors(*(pad_sequence(list(p), True, value).to(device) for p, value in parts))


def answer_loss(model: nn.Module, batch: Tensors, head: nn.Module | None = None) -> Tensor:
    """Summed cross entropy of the answers' tokens, nats; the head runs at answer places only.

    Args:
        head: takes the place of the model's.
    """
    hidden = model.base_model(batch.ids, attention_mask=batch.mask, use_cache=False)
    at = (batch.labels != IGNORED).nonzero(as_tuple=True)
    logits = (head or model.get_output_embeddings())(hidden.last_hidden_state[at])
    return F.cross_entropy(logits.float(), batch.labels[at], reduction="sum")
