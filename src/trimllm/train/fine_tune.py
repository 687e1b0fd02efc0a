"""Full and sparse fine-tuning (paper, section 3.4), also after a dropping without a scan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from torch import nn

from trimllm.base.errors import UserError
from trimllm.data import Document
from trimllm.scan import Scan
from trimllm.select import choose_by_rule, trainable_blocks
from trimllm.train.batching import documents_of_epoch
from trimllm.train.loop import TrainSettings, train_pass
from trimllm.train.team import ONE, Team
from trimllm.units import drop, original_units, units


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


def fine_tune(
    model: nn.Module,
    tokenizer: Any,
    *,
    train: Sequence[Document],
    settings: TrainSettings,
    epochs: int,
    documents: int | None = None,
    initial: Scan | None = None,
    ratio: float | None = None,
    criterion: str = "both",
    team: Team = ONE,
) -> dict[str, Any]:
    """Fine-tune in place: all blocks, or with `ratio` the most important ones (Sparse-FT).

    Args:
        train: documents to train on.
        documents: how many of them a pass takes; None takes all.
        initial: scan of this very model, before anything was dropped from it; chooses the blocks
            among those that are left; needed with `ratio`.
        ratio: share r of the blocks to train (section 3.4).
        team: who trains (see `train_pass`).

    Returns:
        A record for JSON: blocks trained, one entry a pass, size.
    """
    blocks = None
    if ratio is not None:
        if initial is None:
            raise UserError("a sparse update needs the scan of the model before training")
        present = {unit.block for unit in units(model)}
        blocks = trainable_blocks(initial, criterion, ratio, present)
    passes = [
        train_pass(
            model,
            tokenizer,
            documents_of_epoch(train, epoch, documents, settings.seed),
            settings,
            blocks=blocks,
            epoch=epoch,
            epochs=epochs,
            label=f"epoch {epoch + 1}/{epochs}",
            team=team,
        )
        for epoch in range(epochs)
    ]
    return {
        "epochs": epochs,
        "ratio": ratio,
        "settings": asdict(settings),
        "trainable_blocks": blocks,
        "passes": [asdict(done) for done in passes],
        **size_of(model),
    }


def drop_at_once(
    model: nn.Module,
    tokenizer: Any,
    *,
    rule: str,
    dropped: int,
    settings: TrainSettings,
    **options: Any,
) -> dict[str, Any]:
    """Drop whole blocks by a rule of Sajjad et al. (2023), then fine-tune, in place.

    The blocks that are trained are chosen as by the paper's main criterion: rules rank nothing.

    Args:
        rule: "random" (draws with the seed of the settings), "top" or "bottom".
        dropped: units to drop, all at once and before any training.
        options: of `fine_tune`.

    Returns:
        The record of `fine_tune`, the rule and the units dropped.
    """
    gone = choose_by_rule(rule, units(model), dropped, settings.seed).dropped
    drop(model, gone)
    record = fine_tune(model, tokenizer, settings=settings, **options)
    return record | {"rule": rule, "units_dropped": [list(unit) for unit in gone]}
