"""A pass of training: answer-only loss, sparse update, deterministic."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from more_itertools import chunked
from torch import Tensor, nn

from trimllm.base.errors import UserError
from trimllm.base.names import TOKENS_AT_ONCE
from trimllm.base.precision import compute_dtype
from trimllm.base.progress import progress_bar
from trimllm.checkpoint import release
from trimllm.data import Document
from trimllm.score.scorer import max_positions
from trimllm.sublayers import device_of
from trimllm.train.batching import Example, batches_of, examples_of, parts_of, tensors_of
from trimllm.train.place import LossOf, placed, set_trainable
from trimllm.train.settings import PassRecord, TrainSettings
from trimllm.train.state import Losses, PassState, world
from trimllm.train.teacher import Teacher

SHORT = 128
"""Tokens of a document up to which attention keeps all of its weights."""


def train_pass(
    model: nn.Module,
    tokenizer: Any,
    documents: Sequence[Document],
    settings: TrainSettings,
    *,
    blocks: Iterable[int] | None = None,
    lean: bool = False,
    **options: Any,
) -> PassRecord:
    """Train one pass over documents in place; the model comes back in evaluation mode and float32.

    The optimizer starts anew every pass; the learning rate goes by the settings' schedule. The same
    seed, documents and number of threads give the same bytes.

    Args:
        blocks: original blocks to train; None trains all.
        lean: leave frozen matrices in the type of matrix products where that holds them exactly:
            less memory, for a model that is only scored and saved afterwards.
        options: `epoch`, `epochs`, `label`, `teacher` and `state` of `run_pass`.

    Raises:
        UserError: an epoch past the last, nothing left to train, a teacher that is missing, of
            another width or has not run a document, or a loss that is not a number.
    """
    release(model)
    if not set_trainable(model, blocks, settings.train_embeddings):
        raise UserError("none of the trainable blocks has a unit left; raise the update ratio")
    device = device_of(model)
    with placed(model, compute_dtype(settings.dtype, device), lean) as loss_of:
        record = run_pass(loss_of, model, tokenizer, documents, settings, device=device, **options)
        model.eval().requires_grad_(False)
    return record


def run_pass(
    loss_of: LossOf,
    model: nn.Module,
    tokenizer: Any,
    documents: Sequence[Document],
    settings: TrainSettings,
    *,
    device: torch.device,
    epoch: int = 0,
    epochs: int = 1,
    label: str = "training",
    teacher: Teacher | None = None,
    together: int = 1,
    state: PassState | None = None,
) -> PassRecord:
    """The training loop, for a model that is placed, or sharded among processes, each of which
    calls this with the same arguments.

    Args:
        loss_of: `answer_losses` of the model.
        device: where it runs.
        epoch: number of the pass, for the learning rate and the order of documents.
        epochs: number of passes.
        label: of the progress bar.
        teacher: needed with `kl` or `hidden` in the settings.
        together: batches of an optimizer step that several processes run as one.
        state: where the state inside the pass is kept, and from where it goes on.
    """
    if not 0 <= epoch < epochs:
        raise UserError(f"epoch {epoch} of 0 to {epochs - 1}: the learning rate ends before")
    if settings.needs_teacher and (teacher is None or settings.train_embeddings):
        raise UserError("`kl` and `hidden` need a teacher and `train_embeddings=False`")
    start, (rank, _) = time.perf_counter(), world()
    dtype = compute_dtype(settings.dtype, device)
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    parameters = list(named.values())
    optimizer = _optimizer(parameters, settings)
    examples = examples_of(tokenizer, documents, max_positions(model))
    batches = batches_of(examples, settings.batch_size, settings.seed, epoch)
    steps = list(chunked(batches, settings.gradient_accumulation))
    padding, taught = model.config.pad_token_id or 0, _taught(teacher, model, settings)
    progress = progress_bar(len(documents), "documents", label, shown=rank == 0)
    losses: Losses = []
    before = 0.0
    model.train()
    with _conditions(model, settings.seed * 1000 + epoch, _eager(device, dtype, examples)):
        if state is not None:
            losses, before = state.restore(named, optimizer)
            progress.update(sum(len(batch) for step in steps[: len(losses)] for batch in step))
        for number, step in enumerate(steps[len(losses) :], len(losses)):
            for group in optimizer.param_groups:
                group["lr"] = settings.rate(epoch, epochs, number / len(steps))
            tokens = sum(len(example.answer) for batch in step for example in batch)
            total = torch.zeros((), dtype=torch.double)
            for rows, factor in _parts(step, together, device):
                tensors = tensors_of(rows, padding, device, taught)
                with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                    loss = loss_of(tensors, kl=settings.kl, hidden=settings.hidden).sum()
                (loss * factor / tokens).backward()
                total += loss.item() if factor else 0.0
            if dist.is_initialized():
                dist.all_reduce(total)
            losses.append((total.item(), tokens))
            if math.isnan(losses[-1][0]):
                raise UserError("the loss is not a number; lower the learning rate")
            nn.utils.clip_grad_norm_(parameters, settings.clip)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            progress.set_postfix_str(f"loss {_mean(losses[-1:]):.3f}", refresh=False)
            progress.update(sum(map(len, step)))
            if state is not None and number + 1 < len(steps):
                state.save(named, optimizer, losses, before + time.perf_counter() - start)
    progress.set_postfix_str(f"loss {_mean(losses):.3f}", refresh=False)
    progress.close()
    return PassRecord(
        loss=_mean(losses),
        loss_last_quarter=_mean(losses[-max(1, len(losses) // 4) :]),
        steps=len(steps),
        documents=len(documents),
        tokens=sum(len(example) - 1 for example in examples),
        seconds=before + time.perf_counter() - start,
        trainable_parameters=sum(p.numel() for p in parameters),
    )


def _parts(
    step: list[list[Example]], together: int, device: torch.device
) -> Iterator[tuple[Sequence[Example], float]]:
    """The parts of an optimizer step that this process runs, and the factor of their loss.

    Of several processes each runs every size-th row; the factor undoes the mean that FSDP takes
    over them. A process without a row runs one that does not count: all must take part.
    """
    rank, size = world()
    if size > 1:
        for batches in chunked(step, together):
            batch = [example for one in batches for example in one]
            mine = batch[rank::size]
            yield (mine, float(size)) if mine else (batch[:1], 0.0)
        return
    for batch in step:
        # What is kept for the backward pass is that of a part. (A GPU's plan counts the whole.)
        for part in parts_of(batch, TOKENS_AT_ONCE) if device.type == "cpu" else [batch]:
            yield part, 1.0


def _taught(
    teacher: Teacher | None, model: nn.Module, settings: TrainSettings
) -> Callable[[Example], Tensor] | None:
    """What gives the teacher's states of an example; None where the loss needs none."""
    if teacher is None or not settings.needs_teacher:
        return None
    width = model.get_output_embeddings().weight.shape[1]
    return partial(teacher.states_of, width=width, every_token=settings.hidden > 0)


def _optimizer(parameters: list[nn.Parameter], settings: TrainSettings) -> torch.optim.Optimizer:
    """The settings' optimizer; the loop sets its rate before each step."""
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(parameters, weight_decay=settings.weight_decay, fused=True)
    if world()[1] > 1:
        raise UserError(f"optimizer {settings.optimizer} trains in one process; use adamw")
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError:
        raise UserError(
            f"optimizer {settings.optimizer} needs package bitsandbytes; run `make setup`"
        ) from None
    return AdamW8bit(parameters, weight_decay=settings.weight_decay)


def _eager(device: torch.device, dtype: torch.dtype, examples: Sequence[Example]) -> bool:
    """Whether attention is not the fused one: on a CPU in bfloat16 the backward pass of that calls
    a product for every head, which takes a seventh of a training step."""
    longest = max(map(len, examples), default=0)
    return device.type == "cpu" and dtype == torch.bfloat16 and longest <= SHORT


@contextlib.contextmanager
def _conditions(model: nn.Module, seed: int, eager: bool) -> Iterator[None]:
    """Deterministic algorithms and a seed; `eager` attention instead of the fused one.

    Dropout, where a model has it, differs between processes as between the rows of a batch.
    """
    before = torch.are_deterministic_algorithms_enabled()
    filled = torch.utils.deterministic.fill_uninitialized_memory
    attention = model.config._attn_implementation
    # Nothing here reads memory that it has not written, and filling it takes a tenth of the time.
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.use_deterministic_algorithms(True, warn_only=torch.cuda.is_available())
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            torch.manual_seed(seed + 10**15 * world()[0])
            if eager:
                model.set_attn_implementation("eager")
            yield
    finally:
        model.set_attn_implementation(attention)
        torch.use_deterministic_algorithms(before)
        torch.utils.deterministic.fill_uninitialized_memory = filled


def _mean(losses: Losses) -> float:
    """Mean over the answers' tokens of some steps."""
    return sum(total for total, _ in losses) / sum(count for _, count in losses)
