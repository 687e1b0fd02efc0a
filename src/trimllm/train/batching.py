"""Training examples: which documents an epoch sees, in which order, as which tensors; the loss."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from more_itertools import chunked
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from trimllm.base.errors import UserError
from trimllm.data import Document
from trimllm.score import encode_document, fit

WINDOW = 16
"""Batches among which documents are sorted by length, so that few tokens are padding."""
IGNORED = -100
"""Label of a token that the loss does not count."""


@dataclass(frozen=True)
class Example:
    """A document's prompt and right answer, in tokens."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]
    document: Document = field(compare=False, repr=False)

    def __len__(self) -> int:
        return len(self.prompt) + len(self.answer)


def examples_of(
    tokenizer: Any, documents: Sequence[Document], max_length: int | None = None
) -> list[Example]:
    """Every document with its right choice; prompts too long for the model lose their left end."""
    examples = []
    for document in documents:
        whole, (answer,) = encode_document(tokenizer, document, [document.answer])
        prompt = fit(whole, answer, max_length)
        examples.append(Example(tuple(prompt), tuple(answer), document))
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


def parts_of(batch: Sequence[Any], tokens: int) -> Iterator[Sequence[Any]]:
    """A batch in parts that hold at most so many tokens when padded, or one text alone."""
    first, longest = 0, 0
    for at, text in enumerate(batch):
        longest = max(longest, len(text))
        if at > first and (at + 1 - first) * longest > tokens:
            yield batch[first:at]
            first, longest = at, len(text)
    if first < len(batch):
        yield batch[first:]


class Tensors(NamedTuple):
    """A batch padded on the right, each (rows, tokens); the answer's last token is left out.

    Attributes:
        ids, mask: mask is 1 for real tokens.
        labels: the answer's token where one is predicted, else IGNORED.
        taught: (rows, tokens, width) a teacher's last hidden states, 0 where they are not kept.
    """

    ids: Tensor
    mask: Tensor
    labels: Tensor
    taught: Tensor | None = None


def tensors_of(
    batch: Sequence[Example],
    padding: int,
    device: torch.device | str,
    states_of: Callable[[Example], Tensor] | None = None,
) -> Tensors:
    """Pad a batch; `states_of` gives a teacher's states of an example, of its last tokens or all of
    them."""
    rows = []
    for example in batch:
        ids = torch.tensor(example.prompt + example.answer)
        labels = ids[1:].clone()
        labels[: len(example.prompt) - 1] = IGNORED
        rows.append((ids[:-1], torch.ones_like(labels), labels))
    parts = zip(zip(*rows, strict=True), (padding, 0, IGNORED), strict=True)
    tensors = Tensors(*(pad_sequence(list(p), True, value).to(device) for p, value in parts))
    if states_of is None:
        return tensors
    states = [(example, states_of(example)) for example in batch]
    padded = [F.pad(kept, (0, 0, len(example) - 1 - len(kept), 0)) for example, kept in states]
    return tensors._replace(taught=pad_sequence(padded, True).to(device))


def answer_losses(
    model: nn.Module,
    batch: Tensors,
    head: nn.Module | None = None,
    kl: float = 0.0,
    hidden: float = 0.0,
) -> Tensor:
    """Summed loss of the answer's tokens of every row (rows,), nats; the head runs there only.

    Cross entropy; with a teacher (1 - kl) of it, and kl of the divergence of the prediction from
    the teacher's, by the same head. With `hidden` also, times the number of answer tokens, the mean
    over a row's tokens but the first of |h - t|^2 / |t|^2, h and t the last hidden states: the
    first token's state is many times as large as all others, and the same in every document.

    Args:
        head: in place of the model's.
        kl, hidden: see `TrainSettings`.
    """
    head = head or model.get_output_embeddings()
    output = model.base_model(batch.ids, attention_mask=batch.mask, use_cache=False)
    states, answered = output.last_hidden_state, batch.labels != IGNORED
    at = answered.nonzero(as_tuple=True)
    logits = head(states[at]).float()
    losses = F.cross_entropy(logits, batch.labels[at], reduction="none")
    if batch.taught is not None and kl:
        with torch.no_grad():
            taught = head(batch.taught[at].to(states.dtype)).float().log_softmax(-1)
        apart = F.kl_div(logits.log_softmax(-1), taught, reduction="none", log_target=True)
        losses = (1 - kl) * losses + kl * apart.sum(-1)
    rows = losses.new_zeros(len(batch.ids)).index_add(0, at[0], losses)
    if batch.taught is not None and hidden:
        taught, counted = batch.taught.float(), batch.mask.bool().clone()
        counted[:, 0] = False
        error = (states.float() - taught).square().sum(-1)
        error = error / taught.square().sum(-1).clamp_min(1e-12)
        mean = (error * counted).sum(-1) / counted.sum(-1).clamp_min(1)
        rows = rows + hidden * mean * answered.sum(-1)
    return rows
