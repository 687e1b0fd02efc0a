"""Training examples: which documents an epoch sees, in which order, as which tensors; the loss."""

import random
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from more_itertools import chunked
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from trimllm.base.errors import UserError
from trimllm.data import Document
from trimllm.score import Row, encode_document, fit
from trimllm.score.rows import Batch, batch_of, pieces_of
from trimllm.sublayers.families import window_of
from trimllm.train.settings import TrainSettings

WINDOW = 16
"""Batches among which documents are sorted by length, so that few tokens are padding."""


class Example(NamedTuple):
    """A document in tokens."""

    row: Row  # with all its choices
    answer: int  # index of the right one
    choices: bool  # whether all choices are trained on, or the right one alone

    @property
    def input_row(self) -> Row:
        """What runs."""
        prompt, choices = self.row
        return self.row if self.choices else Row(prompt, (choices[self.answer],))

    @property
    def length(self) -> int:
        """Tokens that run."""
        return self.input_row.length

    @property
    def tokens(self) -> int:
        """Tokens of the right answer."""
        return len(self.row.choices[self.answer])


def examples_of(
    tokenizer: Any, documents: Sequence[Document], room: int | None = None, choices: bool = False
) -> list[Example]:
    """Every document in tokens; prompts too long for the model lose their left end."""
    examples = []
    for document in documents:
        row = encode_document(tokenizer, document)
        prompt = tuple(fit(row.prompt, max(row.choices, key=len), room))
        examples.append(Example(row._replace(prompt=prompt), document.answer, choices))
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
    """Shuffled batches whose members have similar lengths and are sorted by them."""
    rng = random.Random(f"{seed} epoch {epoch}")
    order = list(examples)
    rng.shuffle(order)
    batches: list[list[Example]] = []
    for window in chunked(order, batch_size * WINDOW):
        batches += chunked(sorted(window, key=lambda example: example.length), batch_size)
    rng.shuffle(batches)
    return batches


def packed(examples: Sequence[Example], device: torch.device | str) -> tuple[Batch, Tensor]:
    """Examples as tensors, and (rows, 1) the index of the right choice in its row."""
    answers = [[one.answer if one.choices else 0] for one in examples]
    batch = batch_of([*pieces_of([one.input_row for one in examples])], device)
    return batch, torch.tensor(answers, device=device)


def last_states(model: nn.Module, batch: Batch) -> Tensor:
    """(rows, length, width) the head's input, by the stock model's own forward pass."""
    mask = (batch.segments >= 0).long()
    if (batch.segments > 1).any():  # several choices side by side
        mask = batch.mask(window_of(model.config), model.dtype)
    inputs = {"position_ids": batch.positions, "attention_mask": mask, "use_cache": False}
    return model.base_model(batch.ids, **inputs).last_hidden_state


def answer_loss(
    model: nn.Module,
    batch: Batch,
    answers: Tensor,
    settings: TrainSettings,
    teacher_states: Tensor | None = None,
    *,
    tokens_per_document: float = 1.0,
    head: nn.Module | None = None,
) -> Tensor:
    """Loss summed over the right answers' tokens, nats; the head runs only where it predicts.

    Cross entropy; with a teacher (1 - kl) of it, and kl of the divergence of the predictions from
    the teacher's, by the same head. With `hidden` also |h - t|^2 / |t|^2, h and t the last hidden
    states of all tokens but the first, which is many times as large, and the same in every
    document. Of both a row's mean counts once for each token of its answer.

    With `choice_loss` and `choice_kl` also cross entropy and divergence of the softmax over a row's
    choices, by their summed log-likelihoods: what a question is answered by.

    Args:
        teacher_states: (rows, length, width) that `kl`, `hidden` and `choice_kl` need.
        tokens_per_document: factor of the choices' losses, to make them means over documents.
        head: in place of the model's.
    """
    head, states = head or model.get_output_embeddings(), last_states(model, batch)

    def by_row(choices: Tensor, fill: float) -> Tensor:
        """(rows, most choices) of a value a choice; `fill` where a row has fewer."""
        return pad_sequence(choices.split(batch.counts), batch_first=True, padding_value=fill)

    def predict(states: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probabilities (answer places, vocabulary), and of choices (rows, most choices)."""
        tokens = head(states.flatten(0, 1)[batch.places]).float().log_softmax(-1)
        of_choices = tokens.new_zeros(sum(batch.counts))
        of_choices = of_choices.index_add(0, batch.choice, tokens[batch.at, batch.targets])
        return tokens, by_row(of_choices, -1e9)

    lengths = by_row(batch.choice.bincount(), 0)
    weights = lengths.gather(1, answers)[:, 0]
    tokens, choices = predict(states)
    total = -choices.gather(1, answers).sum()
    if teacher_states is not None and (settings.kl or settings.choice_kl):
        with torch.no_grad():
            teacher_tokens, teacher_choices = predict(teacher_states.to(states.dtype))
        parts = _divergence(tokens, teacher_tokens)[batch.at].split(lengths.sum(-1).tolist())
        mean = torch.stack([row.mean() for row in parts])
        total = (1 - settings.kl) * total + settings.kl * (mean * weights).sum()
        divergence = _divergence(choices.log_softmax(-1), teacher_choices.log_softmax(-1))
        total = total + settings.choice_kl * tokens_per_document * divergence.sum()
    if settings.choice_loss:
        right = choices.log_softmax(-1).gather(1, answers)
        total = total - settings.choice_loss * tokens_per_document * right.sum()
    if teacher_states is not None and settings.hidden:
        target, compared = teacher_states.float(), batch.segments >= 0
        compared[:, 0] = False
        error = (states.float() - target).square().sum(-1)
        error = error / target.square().sum(-1).clamp_min(1e-12)
        mean = (error * compared).sum(-1) / compared.sum(-1).clamp_min(1)
        total = total + settings.hidden * (mean * weights).sum()
    return total


def _divergence(student: Tensor, teacher: Tensor) -> Tensor:
    """Kullback-Leibler divergence of the last axis, from log-probabilities."""
    return F.kl_div(student, teacher, reduction="none", log_target=True).sum(-1)
