"""Training examples: which documents an epoch sees, in which order, and as which tensors."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trimllm.base.errors import UserError
from trimllm.data import Document
from trimllm.score import encode_pair

# Batches among which documents are sorted by length, so that few tokens are padding.
WINDOW = 16


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
    start, chosen = epoch * count, []
    while len(chosen) < count:
        lap, offset = divmod(start + len(chosen), len(documents))
        order = list(range(len(documents)))
        random.Random(f"{seed} lap {lap}").shuffle(order)
        chosen += [documents[i] for i in order[offset : offset + count - len(chosen)]]
    return chosen


def batches_of(
    examples: Sequence[Example], batch_size: int, seed: int, epoch: int
) -> list[list[Example]]:
    """Shuffled batches whose members have similar lengths."""
    rng = random.Random(f"{seed} epoch {epoch}")
    order = list(examples)
    rng.shuffle(order)
    window = batch_size * WINDOW
    batches = []
    for start in range(0, len(order), window):
        part = sorted(order[start : start + window], key=len)
        batches += [part[i : i + batch_size] for i in range(0, len(part), batch_size)]
    rng.shuffle(batches)
    return batches


@dataclass(frozen=True)
class Tensors:
    """A padded batch.

    Attributes:
        ids, mask: (rows, tokens); mask is 1 for real tokens. The answer's last token is left out.
        rows, places: (answer tokens,) where each answer token is predicted.
        targets: (answer tokens,)
    """

    ids: Tensor
    mask: Tensor
    rows: Tensor
    places: Tensor
    targets: Tensor


def tensors_of(batch: Sequence[Example], padding: int, device: torch.device | str) -> Tensors:
    """Pad a batch on the right."""
    length = max(len(example) for example in batch) - 1
    ids = torch.full((len(batch), length), padding)
    mask = torch.zeros(len(batch), length, dtype=torch.long)
    rows, places, targets = [], [], []
    for number, example in enumerate(batch):
        tokens = (example.prompt + example.answer)[:-1]
        ids[number, : len(tokens)] = torch.tensor(tokens)
        mask[number, : len(tokens)] = 1
        rows += [number] * len(example.answer)
        places += range(len(example.prompt) - 1, len(tokens))
        targets += example.answer
    moved = (torch.tensor(values, device=device) for values in (rows, places, targets))
    return Tensors(ids.to(device), mask.to(device), *moved)
