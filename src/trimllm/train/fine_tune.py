"""Fine-tuning by passes until documents held back from training no longer gain."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from trimllm.base.errors import UserError
from trimllm.base.precision import compute_dtype, rounded_copy
from trimllm.checkpoint import materialize
from trimllm.data import Document, all_free
from trimllm.score import score
from trimllm.sublayers import device_of
from trimllm.train.batching import documents_of_epoch
from trimllm.train.loop import run_pass
from trimllm.train.model import Placed, adapt, placed, size_of
from trimllm.train.processes import gathered
from trimllm.train.settings import NO_PASS, TrainSettings
from trimllm.train.state import State, put_back, weights_of
from trimllm.train.teacher import Teacher


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
        if product not in (torch.float32, model.dtype):
            model = rounded_copy(model, product)
        right, likelihood = 0, 0.0
        for document, scored in zip(documents, score(model, tokenizer, documents), strict=True):
            if free:
                likelihood += scored.log_likelihoods[0] / scored.tokens[0]
                continue
            right += scored.best == document.answer
            choices = torch.tensor(scored.log_likelihoods, dtype=torch.double).log_softmax(-1)
            likelihood += float(choices[document.answer])
        count = len(documents)
        return cls(None if free else 100 * right / count, likelihood / count, count)


def fine_tune(
    model: nn.Module,
    tokenizer: Any,
    *,
    settings: TrainSettings,
    trainable: Sequence[int] | None = None,
    lora: dict[str, Any] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Fine-tune in place, and keep the pass that answers the `held_back` documents best.

    Without these it is the last. Training ends after `patience` passes in a row that were not
    better than the best one before.

    Args:
        trainable: original blocks to train; None trains all.
        lora: `rank` and `alpha` of adapters, which train in place of all blocks and are merged into
            the model at the end.
        options:
            train: documents to train on.
            epochs: number of passes, which the schedule goes by.
            documents: how many of them a pass takes; None takes all.
            held_back: documents to score after each pass.
            patience: 1, if not given.
            least: first pass that may be kept, from 1: a model that has seen a part of its
                documents is no yardstick; None waits until every document was seen once.
            passes: the first one to train and the one after the last; None trains all `epochs`.
            teacher: needed with `kl` or `hidden` in the settings.
            state: where the state is kept, and from where it goes on.

    Returns:
        A record for JSON: one entry a pass, the held-back documents' scores after each, which pass
        was kept (from 0); the size of the model.

    Raises:
        UserError: as `train_pass`, or for settings that LoRA does not allow.
    """
    adapted = None
    if lora is not None:
        if trainable is not None or settings.train_embeddings:
            raise UserError(
                "LoRA trains adapters in all blocks, and no embeddings; leave out ratio, trainable "
                "and train_embeddings, or leave out LoRA"
            )
        materialize(model, compute_dtype(settings.dtype, device_of(model)))
        adapted = adapt(model, settings.seed, **lora)
    with placed(model, trainable, settings) as prepared:
        record = train_passes(prepared, tokenizer, trainable, settings=settings, **options)
    if adapted is not None:
        adapted.merge_and_unload()
    return record | size_of(model) | ({} if lora is None else {"lora": lora})


def train_passes(
    placed: Placed,
    tokenizer: Any,
    trainable: Sequence[int] | None,
    *,
    train: Sequence[Document],
    settings: TrainSettings,
    epochs: int,
    documents: int | None = None,
    held_back: Sequence[Document] = (),
    patience: int = 1,
    least: int | None = None,
    passes: tuple[int, int] | None = None,
    teacher: Teacher | None = None,
    state: State | None = None,
) -> dict[str, Any]:
    """Train passes of a placed model; the arguments of `fine_tune`, whose record it returns."""
    numbers = range(epochs) if passes is None else range(*passes)
    least = min(least or (math.ceil(len(train) / documents) if documents else 1), len(numbers))
    done = state.done if state else {}
    records, scores, kept = done.get("passes", []), done.get("held_back", []), done.get("kept")
    best = state.tensors(f"pass-{kept}") if state and held_back else {}
    for number in numbers[len(records) :]:
        chosen = documents_of_epoch(train, number, documents, settings.seed)
        more: dict[str, Any] = {"epochs": epochs, "teacher": teacher, "state": state}
        more |= {"epoch": number, "label": f"epoch {number + 1}/{epochs}"}
        trained = run_pass(placed, tokenizer, chosen, settings, **more)
        if trained == NO_PASS:
            break
        records.append(asdict(trained))
        at = kept = len(records) - 1
        if held_back:
            scores.append(_score(placed, tokenizer, held_back, settings.dtype))
            curve = [HeldBackScore(**score) for score in scores]
            kept = max(range(min(least - 1, at), at + 1), key=lambda one: (curve[one], -one))
        if at - kept >= patience or at == len(numbers) - 1:
            break
        if held_back and kept == at:
            weights = weights_of(placed.trained)
            best = {name: tensor.to("cpu", copy=True) for name, tensor in weights.items()}
        if state:
            state.save_pass(placed.trained, passes=records, held_back=scores, kept=kept)
    if kept is not None and kept != len(records) - 1:
        put_back(placed.trained, best)
    return {
        "epochs": epochs,
        "settings": asdict(settings),
        "trainable_blocks": None if trainable is None else list(trainable),
        "passes": records,
        "held_back": scores,
        "kept_pass": kept,
    }


def _score(
    placed: Placed, tokenizer: Any, documents: Sequence[Document], dtype: str
) -> dict[str, Any]:
    """Score of held-back documents, by the first process, for all."""
    model = placed.whole(placed.device, placed.dtype)
    score = None if model is None else HeldBackScore.of(model, tokenizer, documents, dtype)
    return gathered(score and asdict(score))[0]
