"""Fine-tuning by passes until documents held back from training say that it is enough."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from trimllm.base.errors import UserError
from trimllm.base.precision import compute_dtype
from trimllm.data import Document, all_free
from trimllm.scanning import Scan
from trimllm.select import choose_by_rule, trainable_blocks
from trimllm.sublayers import drop, units
from trimllm.train.batching import documents_of_epoch
from trimllm.train.loop import learns, set_trainable, share_untrained, size_of, train_pass
from trimllm.train.lora import Lora, adapt, merge
from trimllm.train.resume import Inside, Saved, own
from trimllm.train.settings import PassRecord, TrainSettings
from trimllm.train.teacher import Teacher
from trimllm.train.team import ONE, Team


@dataclass(frozen=True)
class HeldBackScore:
    """What a model makes of documents that it is not trained on."""

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
        cls,
        model: nn.Module,
        tokenizer: Any,
        documents: Sequence[Document],
        dtype: str,
        team: Team = ONE,
    ) -> HeldBackScore:
        """Score documents by a model, rounded as it is evaluated.

        Raises `UserError` where some have free answers and others choices.
        """
        free = all_free(documents, "held back")
        product = compute_dtype(dtype, team.device_of(model))
        right, likelihood = 0, 0.0
        scores = team.score(model, tokenizer, documents, product)
        for document, found in zip(documents, scores, strict=True):
            if free:
                likelihood += found.log_likelihoods[0] / found.tokens[0]
                continue
            right += found.best == document.answer
            all_choices = torch.tensor(found.log_likelihoods, dtype=torch.double).log_softmax(-1)
            likelihood += float(all_choices[document.answer])
        count = len(documents)
        return cls(None if free else 100 * right / count, likelihood / count, count)


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
    team: Team = ONE,
    saved: Saved | None = None,
) -> dict[str, Any]:
    """Fine-tune in place: all blocks, the most important ones (Sparse-FT), or those that are told.

    With `lora` all blocks by adapters, which are merged into the model at the end.

    With `held_back` documents the pass that answers them best is kept, and training ends after
    `patience` passes in a row that were not better than the best one before. They have no say
    before `least` passes: a model that has seen a part of its documents is no yardstick.

    Args:
        train: documents to train on.
        epochs: passes, or at most so many.
        documents: how many of them a pass takes; None takes all.
        least: passes before whose last one none is kept; None as many as show every document once.
        initial: scan of this very model, before anything was dropped from it; chooses the blocks
            among those that are left; needed with `ratio`.
        ratio: share r of the blocks to train (section 3.4), by `criterion`.
        trainable: the blocks to train, where a share of `ratio` was chosen before.
        rule: drop whole blocks first, all at once and without a scan, the baseline of Sajjad et al.
            (2023): "random" (draws with the seed of the settings), "top" or "bottom".
        dropped: how many units the rule drops.
        lora: rank and alpha of adapters (`trimllm.train.Lora`); the model's own weights are frozen
            until they are merged. Held-back documents are scored before that.
        teacher: see `train_pass`.
        team: see `train_pass`.
        saved: where the state after passes and inside long ones is kept, and gone on from.

    Returns:
        A record for JSON: blocks trained, one entry a pass, what the held-back documents said after
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
    adapted = None
    if lora is not None:
        if blocks is not None or settings.train_embeddings or team.size > 1:
            raise UserError(
                "LoRA trains adapters in all blocks, in one process, and no embeddings; leave out "
                "ratio, trainable, train_embeddings and processes, or leave out LoRA"
            )
        # Adapters are made in the type, and where, the matrices lie that they stand beside.
        model.requires_grad_(False)
        team.place(model, compute_dtype(settings.dtype, team.device_of(model)))
        adapted = adapt(model, Lora(**lora), settings.seed)
    if least is None:
        least = math.ceil(len(train) / documents) if documents else 1
    passes: list[PassRecord] = []
    curve: list[HeldBackScore] = []
    kept, weights, inside = epochs - 1, dict[str, Tensor](), None
    if saved is not None and (before := saved.read(team)):
        said, parts = before
        passes = [PassRecord(**one) for one in said["passes"]]
        curve = [HeldBackScore(**one) for one in said["held_back"]]
        kept, weights = (said["kept"] if curve else kept), parts.get("best", weights)
        if "inside" in parts:
            inside = Inside(**said["inside"], state=parts["inside"])
        else:
            set_trainable(model, blocks, settings.train_embeddings)
            team.place(model, compute_dtype(settings.dtype, team.device_of(model)))
            _give_back(model, parts["now"])

    def keep(
        saved: Saved, name: str, part: str, tensors: Callable[[], dict[str, Tensor]], **said: Any
    ) -> None:
        """Keep what has been done, and what the next steps need."""
        done = {"passes": list(map(asdict, passes)), "held_back": list(map(asdict, curve))}
        parts = {part: (name, tensors)}
        if curve:
            parts["best"] = (str(kept), lambda: weights)
        saved.keep(team, {**done, "kept": kept, **said}, parts)

    def keep_inside(saved: Saved, standing: Callable[[], Inside]) -> None:
        if saved.due(team):
            now = standing()
            name = f"{len(passes)}.{len(now.losses)}"
            told = {"losses": now.losses, "seconds": now.seconds}
            keep(saved, name, "inside", lambda: now.state, inside=told)

    last = epochs if learns(model, blocks, settings, team) else 0
    if last == 0:
        share_untrained(model, settings, team)
    for epoch in range(len(passes), last):
        done = train_pass(
            model,
            tokenizer,
            documents_of_epoch(train, epoch, documents, settings.seed),
            settings,
            blocks=blocks,
            epoch=epoch,
            epochs=epochs,
            label=f"epoch {epoch + 1}/{epochs}",
            teacher=teacher,
            team=team,
            inside=inside,
            keep=partial(keep_inside, saved) if saved else None,
        )
        inside = None
        passes.append(done)
        best = epoch
        if held_back:
            curve.append(HeldBackScore.of(model, tokenizer, held_back, settings.dtype, team))
            may = range(min(least - 1, epochs - 1, epoch), len(curve))
            best = max(may, key=lambda at: (curve[at], -at))
            if best == epoch:
                kept = epoch
                if epoch < epochs - 1:  # a later pass may turn out worse
                    weights = _trained(model, blocks, settings)
            elif epoch - best >= patience:
                break
        if saved and epoch < epochs - 1 and saved.due(team):
            keep(saved, str(epoch), "now", partial(_trained, model, blocks, settings))
    if held_back and kept != len(passes) - 1:
        _give_back(model, weights)
    if adapted is not None:
        merge(adapted)
    return {
        "epochs": epochs,
        "ratio": ratio,
        "settings": asdict(settings),
        "trainable_blocks": blocks,
        "passes": [asdict(one) for one in passes],
        "held_back": [asdict(one) for one in curve],
        "kept_pass": kept if passes else None,
        **size_of(model),
        **({"rule": rule, "units_dropped": [list(unit) for unit in gone]} if rule else {}),
        **({"lora": lora} if lora is not None else {}),
    }


@torch.no_grad()
def _trained(
    model: nn.Module, blocks: Sequence[int] | None, settings: TrainSettings
) -> dict[str, Tensor]:
    """The weights that a pass changes, copied to the host's memory; others are as they were."""
    changed = {id(p) for p in set_trainable(model, blocks, settings.train_embeddings)}
    model.requires_grad_(False)
    named = model.named_parameters()
    return {name: own(p).to("cpu", copy=True) for name, p in named if id(p) in changed}


@torch.no_grad()
def _give_back(model: nn.Module, weights: dict[str, Tensor]) -> None:
    for name, parameter in model.named_parameters():
        if name in weights:
            own(parameter).copy_(weights[name])
