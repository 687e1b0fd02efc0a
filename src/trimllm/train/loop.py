"""Training: a pass over documents (answer-only loss, sparse update, deterministic), and fine-tuning
by passes until documents held back from training no longer gain."""

import contextlib
import math
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from more_itertools import chunked
from torch import nn

from trimllm.base.errors import UserError, required
from trimllm.base.names import TOKENS_AT_ONCE
from trimllm.base.progress import progress_bar
from trimllm.data import Document, all_free
from trimllm.scanning import scan
from trimllm.score import max_positions
from trimllm.sublayers import size_of
from trimllm.train.batching import Example, batches_of, documents_of_epoch, examples_of, packed
from trimllm.train.model import Placed, placed, sharded, whole
from trimllm.train.settings import PassRecord, TrainSettings
from trimllm.train.state import Losses, State, gathered, put_back, weights_of, world
from trimllm.train.teacher import Teacher

SHORT = 128
"""Tokens up to which fused attention is slower: on a CPU in bfloat16 its backward pass calls a
product for every head, a seventh of a training step."""


def fine_tune(
    model: nn.Module,
    tokenizer: Any,
    *,
    train: Sequence[Document],
    settings: TrainSettings,
    epochs: int,
    documents: int | None = None,
    trainable: Sequence[int] | None = None,
    lora: dict[str, Any] | None = None,
    held_back: Sequence[Document] = (),
    patience: int = 1,
    least: int | None = None,
    passes: tuple[int, int] | None = None,
    teacher: Teacher | None = None,
    state: State | None = None,
    offload: bool = False,
) -> dict[str, Any]:
    """Fine-tune in place; returns a record for JSON. With `held_back` documents the best pass by
    them is kept (`kept_pass`, from 0), and `patience` passes without a better one end it.

    Args:
        epochs, documents: passes that the schedule goes by, and documents of each (None: all).
        trainable: blocks to train; None: all. lora: `rank` and `alpha` of adapters in their place.
        least: first pass that may be kept, from 1; None: once every document was seen.
        passes: first one to train and the one after the last; None: all `epochs`.
        state: where it is saved and resumed from.
        offload: whether what several processes share lies in host memory while it is not used.
    """
    numbers = range(epochs) if passes is None else range(*passes)
    least = min(least or (math.ceil(len(train) / documents) if documents else 1), len(numbers))
    done = state.done if state else {}
    records, scores, kept = done.get("passes", []), done.get("held_back", []), done.get("kept")
    best = state.weights(kept) if state and held_back and kept is not None else {}
    several = world()[1] > 1
    place = partial(sharded, offload=offload) if several else partial(placed, lora=lora)

    def score() -> Any:
        """Of the held-back documents, by the first process, for all."""
        full = whole(ready.model, ready.device, ready.dtype)
        return gathered(full and held_back_score(full, tokenizer, held_back, settings.dtype))[0]

    with place(model, trainable, settings) as ready:
        for number in numbers[len(records) :]:
            chosen = documents_of_epoch(train, number, documents, settings.seed)
            which = (number, epochs, f"epoch {number + 1}/{epochs}")
            trained = run_pass(ready, tokenizer, chosen, settings, *which, teacher, state)
            if not trained.steps:
                break
            records.append(asdict(trained))
            at = kept = len(records) - 1
            if held_back:
                scores.append(score())
                kept = max(range(min(least - 1, at), at + 1), key=lambda n: (_rank(scores[n]), -n))
            if at - kept >= patience or at == len(numbers) - 1:
                break
            if held_back and kept == at:
                best = {n: w.to("cpu", copy=True) for n, w in weights_of(ready.trained).items()}
            if state:
                state.save(ready.trained, passes=records, held_back=scores, kept=kept)
        if kept is not None and kept != len(records) - 1:
            put_back(ready.trained, best)
        if held_back and not records:  # nothing is left to train
            scores = [score()]
    blocks = None if trainable is None else list(trainable)
    record = {"epochs": epochs, "settings": asdict(settings), "passes": records, "kept_pass": kept}
    record |= {"trainable_blocks": blocks, "held_back": scores} | size_of(model)
    return record | ({"lora": lora} if lora else {})


def held_back_score(
    model: nn.Module, tokenizer: Any, documents: Sequence[Document], dtype: str
) -> dict[str, Any]:
    """Accuracy (%; None of free answers) and likelihood as in a scan with nothing dropped, by the
    model rounded to the type of matrix products `dtype`."""
    all_free(documents, "held back")
    options: dict[str, Any] = {"candidates": (), "row_budget": TOKENS_AT_ONCE, "dtype": dtype}
    full = scan(model, tokenizer, documents, **options).baseline
    return {"accuracy": full.accuracy, "likelihood": full.likelihood, "documents": len(documents)}


def _rank(score: dict[str, Any]) -> tuple[float, float]:
    return score["accuracy"] or 0.0, score["likelihood"]


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
    epoch: int = 0,
    epochs: int = 1,
    label: str = "training",
    teacher: Teacher | None = None,
    state: State | None = None,
) -> PassRecord:
    """Train one pass; several processes that share a model call this with the same arguments.

    The optimizer starts anew every pass. The same seed, documents and number of threads give the
    same bytes. Where all trainable blocks are dropped nothing is trained, and a warning says so.
    Learning rate and order are those of pass `epoch` of `epochs`; it resumes from `state`.
    """
    if not 0 <= epoch < epochs:
        raise UserError(f"epoch {epoch} of 0 to {epochs - 1}: the learning rate ends before")
    if settings.needs_teacher and (teacher is None or settings.train_embeddings):
        raise UserError(
            "`kl`, `hidden` and `choice_kl` need a teacher and `train_embeddings=False`"
        )
    if not (trained := ready.trained):
        why = "every sublayer of the trained blocks is dropped, so nothing is trained any more"
        print(f"warning: {why}; a larger ratio trains more blocks", file=sys.stderr)
        return PassRecord()
    start, optimizer = time.perf_counter(), _optimizer([*trained.values()], settings)
    examples = examples_of(tokenizer, documents, max_positions(ready.model), settings.choices)
    batches = batches_of(examples, settings.batch_size, settings.seed, epoch)
    steps = list(chunked(batches, settings.gradient_accumulation))
    longest = max(example.length for example in examples)
    ready.model.train()
    with (
        progress_bar(len(documents), label, shown=world()[0] == 0) as progress,
        _conditions(ready, settings.seed * 1000 + epoch, longest),
    ):
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
            loss = ready.loss_of(*inputs, settings, states, tokens_per_document=mean)
        (loss * factor / tokens).backward()
        total += loss.item() if factor else 0.0
    if dist.is_initialized():
        dist.all_reduce(total)
    if math.isnan(total):
        raise UserError("the loss is not a number; lower the learning rate")
    return total.item(), tokens


def _parts(step: list[list[Example]]) -> Iterator[tuple[Sequence[Example], float]]:
    """The rows of an optimizer step that this process runs, in parts, and the factor of their loss,
    which undoes the mean that FSDP takes over processes, which share the rows of each batch."""
    rank, size = world()
    for batch in step:
        if size > 1:
            rows = batch[rank::size]
            # Without a row of its own it runs one that does not count: all must take part.
            yield (rows, float(size)) if rows else (batch[:1], 0.0)
        else:  # what is kept for the backward pass is that of a part
            part: list[Example] = []
            for example in batch:  # from the shortest to the longest
                if part and (len(part) + 1) * example.length > TOKENS_AT_ONCE:
                    yield part, 1.0
                    part = []
                part.append(example)
            yield part, 1.0


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
