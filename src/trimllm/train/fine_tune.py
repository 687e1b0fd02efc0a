"""Fine-tuning by passes until documents held back from training no longer gain."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from trimllm.base.errors import UserError
from trimllm.base.precision import compute_dtype, rounded_copy
from trimllm.checkpoint import materialize
from trimllm.data import Document, all_free
from trimllm.scanning import Scan
from trimllm.score import score
from trimllm.select import choose_by_rule, trainable_blocks
from trimllm.sublayers import device_of, drop, units
from trimllm.train.batching import documents_of_epoch
from trimllm.train.lora import Lora, adapt
from trimllm.train.place import size_of
from trimllm.train.settings import TrainSettings
from trimllm.train.state import RunState
from trimllm.train.teacher import Teacher
from trimllm.train.trainer import Trainer

HERE = Trainer()
"""Trains in this process."""


@dataclass(frozen=True)
class HeldBackScore:
    """How well a model answers documents that it is not trained on."""

    accuracy: float | None  # percent; None of free answers
    # Mean over documents of the log-softmax over the choices' summed log-likelihoods at the right
    # choice, or of a free answer's mean log-likelihood by token (at most 0), nats.
    likelihood: float
    documents: int

    def __lt__(self, other: HeldBackScore) -> bool:
        """Whether the other is better."""
        mine, theirs = ((one.accuracy or 0.0, one.likelihood) for one in (self, other))
        return mine < theirs

    @classmethod
    def of(
        cls, model: nn.Module, tokenizer: Any, documents: Sequence[Document], dtype: str
    ) -> HeldBackScore:
        """Score documents by a model, rounded to the type of matrix products `dtype`.

        Raises `UserError` where some have free answers and others choices.
        """
        free = all_free(documents, "held back")
        product = compute_dtype(dtype, device_of(model))
        right, likelihood = 0, 0.0
        rounded = model if product in (torch.float32, model.dtype) else rounded_copy(model, product)
        scores = score(rounded, tokenizer, documents)
        for document, scored in zip(documents, scores, strict=True):
            if free:
                likelihood += scored.log_likelihoods[0] / scored.tokens[0]
                continue
            right += scored.best == document.answer
            choices = torch.tensor(scored.log_likelihoods, dtype=torch.double).log_softmax(-1)
            likelihood += float(choices[document.answer])
        count = len(documents)
        return cls(None if free else 100 * right / count, likelihood / count, count)


def learns(model: nn.Module, blocks: Iterable[int] | None, settings: TrainSettings) -> bool:
    """Whether a pass has anything to train: all units of the blocks may be dropped by now."""
    wanted = None if blocks is None else set(blocks)
    left = [unit for unit in units(model) if wanted is None or unit.block in wanted]
    if not (left or settings.train_embeddings):
        print(
            "warning: every unit of the blocks that are trained is dropped, so nothing is trained "
            "any more; a larger update ratio trains more blocks",
            file=sys.stderr,
        )
        return False
    return True


def fine_tune(
    model: nn.Module,
    tokenizer: Any,
    *,
    train: Sequence[Document],
    settings: TrainSettings,
    epochs: int,
    documents: int | None = None,
    held_back: Sequence[Document] = (),
    patience: int = 1,
    least: int | None = None,
    initial: Scan | None = None,
    ratio: float | None = None,
    criterion: str = "both",
    trainable: Sequence[int] | None = None,
    rule: str | None = None,
    dropped: int = 0,
    lora: dict[str, Any] | None = None,
    teacher: Teacher | None = None,
    trainer: Trainer = HERE,
    state: RunState | None = None,
) -> dict[str, Any]:
    """Fine-tune in place: all blocks, the most important ones (Sparse-FT), or given ones; with
    `lora` all blocks by adapters, which are merged into the model at the end.

    With `held_back` documents the pass that answers them best is kept, and training ends after
    `patience` passes in a row that were not better than the best one before. Passes before `least`
    do not count: a model that has seen a part of its documents is no yardstick.

    Args:
        train: documents to train on.
        epochs: passes, or at most so many.
        documents: how many of them a pass takes; None takes all.
        least: first pass that may be kept, from 1; None waits until every document was seen once.
        initial: scan of this very model, before anything was dropped from it; chooses the blocks
            among those that are left; needed with `ratio`.
        ratio: share r of the blocks to train (section 3.4), by `criterion`.
        trainable: the blocks to train, where a share of `ratio` was chosen before.
        rule: drop whole blocks first, all at once and without a scan, the baseline of Sajjad et al.
            (2023): "random" (draws with the seed of the settings), "top" or "bottom".
        dropped: how many units the rule drops.
        lora: fields of `trimllm.train.Lora`.
        teacher: see `train_pass`.
        trainer: who trains: this process, or several.
        state: where the state after passes and inside them is kept, and from where it goes on.

    Returns:
        A record for JSON: blocks trained, one entry a pass, the held-back documents' scores after
        each and which pass was kept (from 0), size; the rule and what it dropped; `lora`.

    Raises:
        UserError: as `train_pass`; for what LoRA does not go with.
    """
    gone = choose_by_rule(rule, units(model), dropped, settings.seed).dropped if rule else ()
    if gone:
        drop(model, gone)
    blocks = list(trainable) if trainable is not None else None
    if ratio is not None and blocks is None:
        if initial is None:
            raise UserError("a sparse update needs the scan of the model before training")
        present = {unit.block for unit in units(model)}
        blocks = trainable_blocks(initial, criterion, ratio, present)
    adapted = _adapted(model, lora, blocks, settings, trainer)
    if least is None:
        least = math.ceil(len(train) / documents) if documents else 1
    content, weights = (state.read() if state else None) or ({}, {})
    passes: list[dict[str, Any]] = content.get("passes", [])
    curve = [HeldBackScore(**one) for one in content.get("held_back", [])]
    kept = content.get("kept")
    if passes:
        trainer.restore(model, weights[len(passes) - 1])
    for number in range(len(passes), epochs if learns(model, blocks, settings) else 0):
        done = trainer.train(
            model,
            tokenizer,
            documents_of_epoch(train, number, documents, settings.seed),
            settings,
            blocks=blocks,
            epoch=number,
            epochs=epochs,
            label=f"epoch {number + 1}/{epochs}",
            teacher=teacher,
            state=state.inside(number) if state else None,
        )
        passes.append(asdict(done))
        kept = number
        if held_back:
            curve.append(HeldBackScore.of(model, tokenizer, held_back, settings.dtype))
            counted = range(min(least - 1, epochs - 1, number), number + 1)
            kept = max(counted, key=lambda at: (curve[at], -at))
        if number - kept >= patience or number == epochs - 1:
            break
        if state or (held_back and kept == number):
            weights[number] = trainer.trained(model, blocks, settings)
            weights = {at: one for at, one in weights.items() if at in (kept, number)}
        if state:
            scores = [asdict(one) for one in curve]
            state.keep({"passes": passes, "held_back": scores, "kept": kept}, weights)
    if kept is not None and kept != len(passes) - 1:
        trainer.restore(model, weights[kept])
    if adapted is not None:
        adapted.merge_and_unload()
    return {
        "epochs": epochs,
        "ratio": ratio,
        "settings": asdict(settings),
        "trainable_blocks": blocks,
        "passes": passes,
        "held_back": [asdict(one) for one in curve],
        "kept_pass": kept,
        **size_of(model),
        **({"rule": rule, "units_dropped": [list(unit) for unit in gone]} if rule else {}),
        **({"lora": lora} if lora is not None else {}),
    }


def _adapted(
    model: nn.Module,
    lora: dict[str, Any] | None,
    blocks: Sequence[int] | None,
    settings: TrainSettings,
    trainer: Trainer,
) -> Any:
    """What merges the adapters that are put into a model; None without LoRA."""
    if lora is None:
        return None
    if blocks is not None or settings.train_embeddings or trainer.processes > 1:
        raise UserError(
            "LoRA trains adapters in all blocks, in one process, and no embeddings; leave out "
            "ratio, trainable, train_embeddings and processes, or leave out LoRA"
        )
    materialize(model, compute_dtype(settings.dtype, device_of(model)))
    return adapt(model, Lora(**lora), settings.seed)
