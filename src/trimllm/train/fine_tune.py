"""Fine-tuning by passes until documents held back from training no longer gain."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from torch import nn

from trimllm.base.names import TOKENS_AT_ONCE
from trimllm.data import Document, all_free
from trimllm.scanning import scan
from trimllm.train.batching import documents_of_epoch
from trimllm.train.loop import run_pass
from trimllm.train.model import Placed, placed, size_of
from trimllm.train.parallel import whole
from trimllm.train.processes import gathered
from trimllm.train.settings import NO_PASS, TrainSettings
from trimllm.train.state import State, put_back, weights_of
from trimllm.train.teacher import Teacher


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
    place: Callable[..., Any] = placed,
) -> dict[str, Any]:
    """Fine-tune in place; returns a record for JSON. With `held_back` documents the best pass by
    them is kept (`kept_pass`, from 0), and `patience` passes without a better one end it.

    Args:
        epochs, documents: passes that the schedule goes by, and documents of each (None: all).
        trainable: blocks to train; None: all. lora: `rank` and `alpha` of adapters in their place.
        least: first pass that may be kept, from 1; None: once every document was seen.
        passes: first one to train and the one after the last; None: all `epochs`.
        state: where it is saved and resumed from. place: how processes share the model.
    """
    numbers = range(epochs) if passes is None else range(*passes)
    least = min(least or (math.ceil(len(train) / documents) if documents else 1), len(numbers))
    done = state.done if state else {}
    records, scores, kept = done.get("passes", []), done.get("held_back", []), done.get("kept")
    best = state.weights(kept) if state and held_back and kept is not None else {}
    with place(model, trainable, settings, lora) as ready:
        for number in numbers[len(records) :]:
            chosen = documents_of_epoch(train, number, documents, settings.seed)
            more: dict[str, Any] = {"epoch": number, "epochs": epochs, "teacher": teacher}
            more |= {"state": state, "label": f"epoch {number + 1}/{epochs}"}
            trained = run_pass(ready, tokenizer, chosen, settings, **more)
            if trained == NO_PASS:
                break
            records.append(asdict(trained))
            at = kept = len(records) - 1
            if held_back:
                scores.append(_score(ready, tokenizer, held_back, settings.dtype))
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
            scores = [_score(ready, tokenizer, held_back, settings.dtype)]
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


def _score(ready: Placed, tokenizer: Any, documents: Sequence[Document], dtype: str) -> Any:
    """Score of held-back documents, by the first process, for all."""
    model = whole(ready.model, ready.device, ready.dtype)
    return gathered(model and held_back_score(model, tokenizer, documents, dtype))[0]


def _rank(score: dict[str, Any]) -> tuple[float, float]:
    return score["accuracy"] or 0.0, score["likelihood"]
