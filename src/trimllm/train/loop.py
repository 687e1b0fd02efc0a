"""One pass of training: answer-only loss, a sparse update of some blocks, deterministic."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from trimllm.base.errors import UserError
from trimllm.base.precision import compute_dtype
from trimllm.base.progress import Progress
from trimllm.checkpoint import release
from trimllm.data import Document
from trimllm.score.scorer import max_positions
from trimllm.train.batching import Example, Tensors, batches_of, examples_of, tensors_of
from trimllm.train.loss import answer_loss
from trimllm.train.settings import TrainSettings
from trimllm.train.team import ONE, PlacedLoss, Team
from trimllm.units import unit_parameters

# Tokens of a document up to which attention keeps all of its weights.
SHORT = 128


@dataclass(frozen=True)
class PassRecord:
    """What a pass over the documents did.

    Attributes:
        loss: mean of the answer tokens' cross entropy over the pass, nats.
        loss_last_quarter: the same over the last quarter of the steps.
        steps, documents, tokens: tokens are real ones, without padding.
        seconds: wall-clock time.
        trainable_parameters: number of parameters that were trained.
    """

    loss: float
    loss_last_quarter: float
    steps: int
    documents: int
    tokens: int
    seconds: float
    trainable_parameters: int


def set_trainable(
    model: nn.Module, blocks: Iterable[int] | None, embeddings: bool = False
) -> list[nn.Parameter]:
    """Let only the units of the given original blocks learn (None: of all blocks).

    A trainable block that has lost its units is not replaced. Returns the trainable parameters.
    """
    wanted = None if blocks is None else set(blocks)
    model.requires_grad_(False)
    chosen: list[nn.Parameter] = []
    in_units: set[int] = set()
    for unit, parameters in unit_parameters(model).items():
        in_units.update(id(p) for p in parameters)
        if wanted is None or unit.block in wanted:
            chosen += parameters
    if embeddings:
        chosen += [p for p in model.parameters() if id(p) not in in_units]
    for parameter in chosen:
        parameter.requires_grad_(True)
    return chosen


@contextlib.contextmanager
def _deterministic(seed: int) -> Iterator[None]:
    before = torch.are_deterministic_algorithms_enabled()
    filled = torch.utils.deterministic.fill_uninitialized_memory
    # Nothing here reads memory that it has not written, and filling it takes a tenth of the time.
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.use_deterministic_algorithms(True, warn_only=torch.cuda.is_available())
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before)
            torch.utils.deterministic.fill_uninitialized_memory = filled


@contextlib.contextmanager
def _attention(
    model: nn.Module, device: torch.device, dtype: torch.dtype, longest: int
) -> Iterator[None]:
    """On a CPU in bfloat16, multiply the heads of short documents together.

    The backward pass of PyTorch's fused attention calls a product for every head there, which
    takes a seventh of a training step.
    """
    before = model.config._attn_implementation
    if device.type == "cpu" and dtype == torch.bfloat16 and longest <= SHORT:
        model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(before)


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
    team: Team = ONE,
) -> PassRecord:
    """Train one pass over documents in place; the model comes back in evaluation mode, float32.

    The optimizer starts anew every pass; the learning rate goes on from pass to pass along one
    linear decay. The same seed, documents and number of threads give the same bytes.

    Args:
        blocks: original blocks to train; None trains all.
        epoch, epochs: which pass of how many, for the learning rate and the order of documents.
        team: who trains. Of several processes each calls this with the same arguments, and the
            model stays sharded among them (see `parallel.Sharded.unwrap`).

    Raises:
        UserError: an epoch past the last, nothing left to train, or a loss that is no number.
    """
    if not 0 <= epoch < epochs:
        raise UserError(f"epoch {epoch} of 0 to {epochs - 1}: the learning rate ends before")
    start = time.perf_counter()
    device = team.device_of(model)
    dtype = compute_dtype(settings.dtype, device)
    # What a scan has brought is read anew, in the types that training needs.
    release(model)
    if not set_trainable(model, blocks, settings.train_embeddings):
        raise UserError("none of the trainable blocks has a unit left; raise the update ratio")
    loss_of = team.place(model, dtype, answer_loss)
    parameters = set_trainable(model, blocks, settings.train_embeddings)
    optimizer = torch.optim.AdamW(
        parameters,
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        fused=True,
    )
    examples = examples_of(tokenizer, documents, max_positions(model))
    batches = batches_of(examples, settings.batch_size, settings.seed, epoch)
    every = settings.gradient_accumulation
    steps = [batches[i : i + every] for i in range(0, len(batches), every)]
    progress = Progress(len(documents), "documents", label, log=team.log())
    losses: list[tuple[float, int]] = []
    tensors = partial(tensors_of, padding=model.config.pad_token_id or 0, device=device)
    model.train()
    # Dropout, where a model has it, differs between processes as between the rows of a batch.
    seed = settings.seed * 1000 + epoch + 10**15 * team.rank
    longest = max(map(len, examples))
    with _deterministic(seed), _attention(model, device, dtype, longest):
        for number, step in enumerate(steps):
            done = (epoch * len(steps) + number) / (epochs * len(steps))
            for group in optimizer.param_groups:
                group["lr"] = settings.rate(done)
            losses.append(_step(loss_of, optimizer, step, tensors, settings.clip, dtype, team))
            size = sum(len(batch) for batch in step)
            tokens = sum(len(example) - 1 for batch in step for example in batch)
            progress.update(size, tokens, f"loss {losses[-1][0] / losses[-1][1]:.3f}")
    model.eval().requires_grad_(False)
    team.retire(model)

    def mean(part: list[tuple[float, int]]) -> float:
        return sum(total for total, _ in part) / sum(count for _, count in part)

    quarter = losses[-max(1, len(losses) // 4) :]
    progress.done(f"loss {mean(losses):.3f}")
    return PassRecord(
        loss=mean(losses),
        loss_last_quarter=mean(quarter),
        steps=len(steps),
        documents=len(documents),
        tokens=progress.tokens,
        seconds=time.perf_counter() - start,
        trainable_parameters=sum(p.numel() for p in parameters),
    )


def _step(
    loss_of: PlacedLoss,
    optimizer: torch.optim.Optimizer,
    step: list[list[Example]],
    tensors: Callable[[Sequence[Example]], Tensors],
    clip: float,
    dtype: torch.dtype,
    team: Team,
) -> tuple[float, int]:
    """One optimizer step; returns the summed loss and the number of answer tokens."""
    count = sum(len(example.answer) for batch in step for example in batch)
    total = 0.0
    for batch in step:
        mine, factor = team.share(batch)
        inputs = tensors(mine)
        with torch.autocast(inputs.ids.device.type, dtype, enabled=dtype != torch.float32):
            loss = loss_of(inputs)
        total += loss.item() if factor else 0.0
        team.backward(loss * factor / count)
    total = team.total(total)
    if total != total:
        raise UserError("the loss is not a number; lower the learning rate")
    team.clip(optimizer.param_groups[0]["params"], clip)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return total, count
