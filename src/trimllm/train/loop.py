"""A pass of training: answer-only loss, sparse update, deterministic."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from more_itertools import chunked
from torch import nn

from trimllm.base.errors import UserError
from trimllm.base.names import TOKENS_AT_ONCE
from trimllm.base.precision import compute_dtype
from trimllm.base.progress import progress_bar
from trimllm.base.together import parts_of
from trimllm.checkpoint import release
from trimllm.data import Document
from trimllm.score.scorer import max_positions
from trimllm.sublayers import Unit, original_units, unit_parameters, units
from trimllm.train.batching import Example, batches_of, examples_of, tensors_of
from trimllm.train.lora import adapters
from trimllm.train.resume import STEPS, Inside
from trimllm.train.settings import PassRecord, TrainSettings
from trimllm.train.teacher import Teacher
from trimllm.train.team import ONE, Team

# Tokens of a document up to which attention keeps all of its weights.
SHORT = 128


def _units_of(model: nn.Module, blocks: Iterable[int] | None) -> list[Unit]:
    """The units that some original blocks (None: all) have left."""
    wanted = None if blocks is None else set(blocks)
    return [unit for unit in units(model) if wanted is None or unit.block in wanted]


def set_trainable(
    model: nn.Module, blocks: Iterable[int] | None, embeddings: bool = False
) -> list[nn.Parameter]:
    """Let only the units of the given original blocks learn (None: of all blocks).

    A trainable block that has lost its units is not replaced. Of a model with adapters these learn,
    and nothing else. Returns the trainable parameters.
    """
    model.requires_grad_(False)
    of_units = unit_parameters(model)
    chosen = adapters(model)
    if not chosen:
        chosen = [p for unit in _units_of(model, blocks) for p in of_units[unit]]
    if embeddings:
        inside = {id(p) for parameters in of_units.values() for p in parameters}
        chosen += [p for p in model.parameters() if id(p) not in inside]
    for parameter in chosen:
        parameter.requires_grad_(True)
    return chosen


def learns(
    model: nn.Module, blocks: Iterable[int] | None, settings: TrainSettings, team: Team
) -> bool:
    """Whether a pass has anything to train: all units of the blocks may be dropped by now."""
    if settings.train_embeddings or _units_of(model, blocks):
        return True
    if team.rank == 0:
        print(
            "warning: all sublayers of the trainable blocks are dropped, so nothing is trained any "
            "more; a larger update ratio trains more blocks",
            file=sys.stderr,
        )
    return False


def share_untrained(model: nn.Module, settings: TrainSettings, team: Team) -> None:
    """Bring a model that no pass will bring there to where several processes score and save it."""
    if team.size > 1:
        release(model)
        model.requires_grad_(False)
        team.place(model, compute_dtype(settings.dtype, team.device_of(model)))


@contextlib.contextmanager
def _conditions(model: nn.Module, seed: int, eager: bool) -> Iterator[None]:
    """Deterministic algorithms and a seed; `eager` attention instead of the fused one."""
    before = torch.are_deterministic_algorithms_enabled()
    filled = torch.utils.deterministic.fill_uninitialized_memory
    attention = model.config._attn_implementation
    # Nothing here reads memory that it has not written, and filling it takes a tenth of the time.
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.use_deterministic_algorithms(True, warn_only=torch.cuda.is_available())
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            torch.manual_seed(seed)
            if eager:
                model.set_attn_implementation("eager")
            yield
    finally:
        model.set_attn_implementation(attention)
        torch.use_deterministic_algorithms(before)
        torch.utils.deterministic.fill_uninitialized_memory = filled


def train_pass(
    model: nn.Module,
    tokenizer: Any,
    documents: Sequence[Document],
    settings: TrainSettings,
    *,
    blocks: Iterable[int] | None = None,
    epoch: int = 0,
    epochs: int = 1,
    label: str = "training",
    teacher: Teacher | None = None,
    team: Team = ONE,
    inside: Inside | None = None,
    keep: Callable[[Callable[[], Inside]], None] | None = None,
) -> PassRecord:
    """Train one pass over documents in place; the model comes back in evaluation mode, and float32
    unless the team is lean.

    The optimizer starts anew every pass; the learning rate goes by the settings' schedule. The same
    seed, documents and number of threads give the same bytes.

    Args:
        blocks: original blocks to train; None trains all.
        epoch: which pass, for the learning rate and the order of documents.
        epochs: of how many.
        teacher: whom to learn from, where the settings weigh one.
        team: who trains. Of several processes each calls this with the same arguments, and the
            model stays sharded among them (see `parallel.Sharded.unwrap`).
        inside: where this pass stood when it was cut; it goes on from there.
        keep: is called every few steps, with what tells where the pass stands.

    Raises:
        UserError: an epoch past the last, nothing left to train, a teacher that is missing or of
            another head, or a loss that is no number.
    """
    if not 0 <= epoch < epochs:
        raise UserError(f"epoch {epoch} of 0 to {epochs - 1}: the learning rate ends before")
    if settings.taught and (teacher is None or settings.train_embeddings):
        raise UserError("a teacher is listened to where there is one, and embeddings are frozen")
    start = time.perf_counter()
    device = team.device_of(model)
    dtype = compute_dtype(settings.dtype, device)
    # What a scan has brought is read anew, in the types that training needs.
    release(model)
    if not set_trainable(model, blocks, settings.train_embeddings):
        raise UserError("none of the trainable blocks has a unit left; raise the update ratio")
    loss_of = team.place(model, dtype)
    parameters = set_trainable(model, blocks, settings.train_embeddings)
    optimizer = _optimizer(parameters, settings, team)
    taught = teacher.of_document if teacher and settings.taught else None
    examples = examples_of(tokenizer, documents, max_positions(model), taught)
    batches = batches_of(examples, settings.batch_size, settings.seed, epoch)
    steps = list(chunked(batches, settings.gradient_accumulation))
    progress = progress_bar(len(documents), "documents", label, shown=team.rank == 0)
    padding = model.config.pad_token_id or 0
    losses = list(inside.losses) if inside else []
    done, before = len(losses), inside.seconds if inside else 0.0

    def mean(part: list[tuple[float, int]]) -> float:
        return sum(total for total, _ in part) / sum(count for _, count in part)

    def gradients_of(step: list[list[Example]]) -> tuple[float, int]:
        """Summed loss of the answers of an optimizer step, and how many tokens they have."""
        count = sum(len(example.answer) for batch in step for example in batch)
        total = torch.zeros((), dtype=torch.double)
        for batches in chunked(step, team.batches):
            batch = [example for one in batches for example in one]
            mine, factor = team.share(batch)
            # Gradients add up: what is kept for the backward pass is that of a part. (Processes
            # that share a batch gather weights for each; a GPU's plan counts the whole.)
            apart = device.type == "cpu" and team.size == 1
            for part in parts_of(mine, TOKENS_AT_ONCE) if apart else [mine]:
                tensors = tensors_of(part, padding, device, settings.kl, settings.hidden)
                with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                    loss = loss_of(tensors).sum()
                if factor:
                    total += loss.item()
                (loss * factor / count).backward()
        team.add_up(total)
        return total.item(), count

    model.train()
    # Dropout, where a model has it, differs between processes as between the rows of a batch.
    seed = settings.seed * 1000 + epoch + 10**15 * team.rank
    # On a CPU in bfloat16 the backward pass of fused attention calls a product for every head,
    # which takes a seventh of a training step.
    eager = device.type == "cpu" and dtype == torch.bfloat16 and max(map(len, examples)) <= SHORT
    with _conditions(model, seed, eager):
        named = {name: p for name, p in model.named_parameters() if p.requires_grad}
        if inside:
            inside.give_back(named, optimizer)
        progress.update(sum(sum(map(len, step)) for step in steps[:done]))
        for number, step in enumerate(steps[done:], done):
            for group in optimizer.param_groups:
                group["lr"] = settings.rate(epoch, epochs, number / len(steps))
            losses.append(gradients_of(step))
            if math.isnan(losses[-1][0]):
                raise UserError("the loss is not a number; lower the learning rate")
            nn.utils.clip_grad_norm_(parameters, settings.clip)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            progress.set_postfix_str(f"loss {mean(losses[-1:]):.3f}", refresh=False)
            progress.update(sum(map(len, step)))
            if keep and (number + 1) % STEPS == 0 and number + 1 < len(steps):
                seconds = before + time.perf_counter() - start
                keep(partial(Inside.of, losses, seconds, named, optimizer))
    model.eval().requires_grad_(False)
    team.retire(model)
    progress.set_postfix_str(f"loss {mean(losses):.3f}", refresh=False)
    progress.close()
    return PassRecord(
        loss=mean(losses),
        loss_last_quarter=mean(losses[-max(1, len(losses) // 4) :]),
        steps=len(steps),
        documents=len(documents),
        tokens=sum(map(_tokens, steps)),
        seconds=before + time.perf_counter() - start,
        trainable_parameters=sum(p.numel() for p in parameters),
    )


def _tokens(step: Iterable[Iterable[Example]]) -> int:
    """Tokens of a step's documents, padding apart."""
    return sum(len(example) - 1 for batch in step for example in batch)


def _optimizer(
    parameters: list[nn.Parameter], settings: TrainSettings, team: Team
) -> torch.optim.Optimizer:
    """What the settings name; the loop gives it its rate before each step."""
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(parameters, weight_decay=settings.weight_decay, fused=True)
    if team.size > 1:
        raise UserError(
            f"optimizer {settings.optimizer} trains in one process, not in {team.size}; use adamw"
        )
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError:
        raise UserError(
            f"optimizer {settings.optimizer} needs package bitsandbytes; run `make setup`"
        ) from None
    return AdamW8bit(parameters, weight_decay=settings.weight_decay)


def size_of(model: nn.Module) -> dict[str, int]:
    """Units and parameters that a model has left, for its record."""
    left = units(model)
    return {
        "units_left": len(left),
        "units_total": original_units(model),
        "parameters": sum(p.numel() for p in model.parameters()),
        "attention_left": sum(unit.kind == "attention" for unit in left),
        "mlp_left": sum(unit.kind == "mlp" for unit in left),
    }
