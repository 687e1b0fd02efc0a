"""A pass of training: answer-only loss, sparse update, deterministic."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
import torch.distributed as dist
from more_itertools import chunked
from torch import nn

from trimllm.base.errors import UserError, required
from trimllm.base.names import TOKENS_AT_ONCE
from trimllm.base.progress import progress_bar
from trimllm.data import Document
from trimllm.score.scorer import max_positions
from trimllm.train.batching import Example, batches_of, examples_of, packed, parts_of
from trimllm.train.model import Placed, placed
from trimllm.train.processes import world
from trimllm.train.settings import NO_PASS, PassRecord, TrainSettings
from trimllm.train.state import Losses, State
from trimllm.train.teacher import Teacher

SHORT = 128
"""Tokens up to which fused attention is slower: on a CPU in bfloat16 its backward pass calls a
product for every head, a seventh of a training step."""
NOTHING_LEFT = "every sublayer of the trained blocks is dropped, so nothing is trained any more"


def train_pass(
    model: nn.Module,
    tokenizer: Any,
    documents: Sequence[Document],
    settings: TrainSettings,
    *,
    blocks: Iterable[int] | None = None,
    **options: Any,
) -> PassRecord:
    """Train one pass in place, with `options` of `run_pass`; the model comes back in evaluation
    mode and float32. Of the original `blocks` None trains all."""
    with placed(model, blocks, settings) as ready:
        return run_pass(ready, tokenizer, documents, settings, **options)


def run_pass(
    ready: Placed,
    tokenizer: Any,
    documents: Sequence[Document],
    settings: TrainSettings,
    *,
    epoch: int = 0,
    epochs: int = 1,
    label: str = "training",
    teacher: Teacher | None = None,
    state: State | None = None,
) -> PassRecord:
    """Train one pass; several processes that share a model call this with the same arguments.

    The optimizer starts anew every pass. The same seed, documents and number of threads give the
    same bytes. Where all trainable blocks are dropped nothing is trained, and a warning says so.

    Args:
        epoch, epochs: number of the pass and of passes, for the learning rate and the order.
        state: where the state inside the pass is saved, and from where it resumes.
    """
    if not 0 <= epoch < epochs:
        raise UserError(f"epoch {epoch} of 0 to {epochs - 1}: the learning rate ends before")
    if settings.needs_teacher and (teacher is None or settings.train_embeddings):
        raise UserError(
            "`kl`, `hidden` and `choice_kl` need a teacher and `train_embeddings=False`"
        )
    if not (trained := ready.trained):
        print(f"warning: {NOTHING_LEFT}; a larger ratio trains more blocks", file=sys.stderr)
        return NO_PASS
    start, optimizer = time.perf_counter(), _optimizer([*trained.values()], settings)
    limit = max_positions(ready.model)
    examples = examples_of(tokenizer, documents, limit, settings.choices)
    batches = batches_of(examples, settings.batch_size, settings.seed, epoch)
    steps = list(chunked(batches, settings.gradient_accumulation))
    progress = progress_bar(len(documents), "documents", label, shown=world()[0] == 0)
    ready.model.train()
    with _conditions(ready, settings.seed * 1000 + epoch, max(one.length for one in examples)):
        losses, before = state.restore(trained, optimizer) if state else (Losses(), 0.0)
        progress.update(sum(len(batch) for step in steps[: len(losses)] for batch in step))
        for number, step in enumerate(steps[len(losses) :], len(losses)):
            for group in optimizer.param_groups:
                group["lr"] = settings.rate(epoch, epochs, number / len(steps))
            losses.append(_backward(ready, settings, teacher, step))
            nn.utils.clip_grad_norm_(trained.values(), settings.clip)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            progress.set_postfix_str(f"loss {_mean(losses[-1:]):.3f}", refresh=False)
            progress.update(sum(map(len, step)))
            seconds = before + time.perf_counter() - start
            if state and number + 1 < len(steps) and state.due():
                state.save(trained, optimizer, losses=losses, seconds=seconds)
    progress.close()
    ready.model.eval()
    return PassRecord(
        loss=_mean(losses),
        steps=len(steps),
        documents=len(documents),
        tokens=sum(example.length for example in examples),
        seconds=seconds,
        trainable_parameters=sum(p.numel() for p in trained.values()),
    )


def _backward(
    ready: Placed, settings: TrainSettings, teacher: Teacher | None, step: list[list[Example]]
) -> tuple[float, int]:
    """Add the gradients of an optimizer step; returns its summed loss and its answer tokens."""
    width = ready.model.get_output_embeddings().weight.shape[1]
    counts = [example.tokens for batch in step for example in batch]
    tokens = sum(counts)
    total = torch.zeros((), dtype=torch.double)
    for rows, factor in _parts(step):
        states = None
        if teacher is not None and settings.needs_teacher:
            states = teacher.states_of(rows, width).to(ready.device)
        inputs, mean = packed(rows, ready.device), tokens / len(counts)
        with torch.autocast(ready.device.type, ready.dtype, ready.dtype != torch.float32):
            loss = ready.loss_of(inputs, settings, states, tokens_per_document=mean)
        (loss * factor / tokens).backward()
        total += loss.item() if factor else 0.0
    if dist.is_initialized():
        dist.all_reduce(total)
    if math.isnan(total):
        raise UserError("the loss is not a number; lower the learning rate")
    return total.item(), tokens


def _parts(step: list[list[Example]]) -> Iterator[tuple[Sequence[Example], float]]:
    """The rows of an optimizer step that this process runs, in parts, and the factor of their loss.

    Several processes share the rows of each batch; the factor undoes the mean that FSDP takes.
    Without a row a process runs one that does not count: all must take part.
    """
    rank, size = world()
    for batch in step:
        if size > 1:
            rows = batch[rank::size]
            yield (rows, float(size)) if rows else (batch[:1], 0.0)
        else:  # what is kept for the backward pass is that of a part
            yield from ((part, 1.0) for part in parts_of(batch, TOKENS_AT_ONCE))


def _optimizer(parameters: list[nn.Parameter], settings: TrainSettings) -> torch.optim.Optimizer:
    """The settings' optimizer; the loop sets its rate before each step."""
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(parameters, weight_decay=settings.weight_decay, fused=True)
    with required("compress"):
        from bitsandbytes.optim import AdamW8bit

    return AdamW8bit(parameters, weight_decay=settings.weight_decay)


@contextlib.contextmanager
def _conditions(ready: Placed, seed: int, longest: int) -> Iterator[None]:
    """Deterministic algorithms, a seed, and the attention that is fastest for so many tokens."""
    model, attention = ready.model, ready.model.config._attn_implementation
    before = torch.are_deterministic_algorithms_enabled()
    # Nothing here reads memory that it has not written, and filling it takes a tenth of the time.
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.use_deterministic_algorithms(True, warn_only=torch.cuda.is_available())
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            torch.manual_seed(seed + 10**15 * world()[0])  # dropout differs between processes
            if (ready.device.type, ready.dtype) == ("cpu", torch.bfloat16) and longest <= SHORT:
                model.set_attn_implementation("eager")
            yield
    finally:
        model.set_attn_implementation(attention)
        torch.use_deterministic_algorithms(before)


def _mean(losses: Losses) -> float:
    """Mean over the answers' tokens of some steps."""
    return sum(total for total, _ in losses) / sum(count for _, count in losses)
