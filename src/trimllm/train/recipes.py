"""Recipes: full and sparse fine-tuning, and an epoch of progressive layer dropping."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from torch import nn

from trimllm.base.errors import UserError
from trimllm.base.names import AUTHORS
from trimllm.base.precision import compute_dtype, rounded_copy
from trimllm.base.processes import ALONE, Processes
from trimllm.base.progress import Progress
from trimllm.data import Document
from trimllm.scan import Scan, scan, to_record
from trimllm.select import (
    COUNTED,
    RULES,
    Selection,
    check_criterion,
    choose,
    choose_by_rule,
    trainable_blocks,
)
from trimllm.train.batching import documents_of_epoch
from trimllm.train.loop import train_pass
from trimllm.train.settings import TrainSettings
from trimllm.train.team import ONE, Team
from trimllm.units import drop, original_units, units
from trimllm.units.adapters import device_of

# Rules rank nothing; the blocks that they train are chosen as in the paper's main criterion.
RULE_CRITERION = "both"


def watched_scan(
    model: nn.Module,
    tokenizer: Any,
    documents: Sequence[Document],
    dtype: str = "auto",
    *,
    label: str = "scan",
    processes: Processes = ALONE,
    **options: Any,
) -> Scan:
    """`scan` with progress, in the type that training runs in (see `TrainSettings.dtype`)."""
    found_dtype = compute_dtype(dtype, device_of(model))
    progress = Progress(len(documents), "documents", label, log=processes.log())
    # The master weights stay as they are; a scan in bfloat16 runs on a rounded copy.
    if model.dtype != found_dtype:
        model = rounded_copy(model, found_dtype)
    found = scan(model, tokenizer, documents, progress=progress, processes=processes, **options)
    progress.done(f"accuracy {found.baseline:.1f}% with nothing dropped")
    return found


def _size(model: nn.Module) -> dict[str, Any]:
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
    documents: Sequence[Document],
    settings: TrainSettings,
    *,
    epochs: int,
    documents_per_epoch: int | None = None,
    initial: Scan | None = None,
    ratio: float | None = None,
    criterion: str = "both",
    team: Team = ONE,
) -> dict[str, Any]:
    """Fine-tune in place: all blocks, or with `ratio` the most important ones (Sparse-FT).

    Args:
        documents: training documents.
        documents_per_epoch: how many of them a pass takes; None takes all.
        initial: scan of this very model, before anything was dropped from it; chooses the blocks
            among those that are left; needed with `ratio`.
        ratio: share r of the blocks to train (section 3.4).
        team: who trains (see `train_pass`).

    Returns:
        A record for JSON: blocks trained, one entry a pass, size.
    """
    record: dict[str, Any] = {"epochs": epochs, "ratio": ratio, "settings": asdict(settings)}
    blocks = None
    if ratio is not None:
        if initial is None:
            raise UserError("a sparse update needs the scan of the model before training")
        present = {unit.block for unit in units(model)}
        blocks = trainable_blocks(initial, criterion, ratio, present)
    record |= {"trainable_blocks": blocks, "passes": []}
    for epoch in range(epochs):
        chosen = documents_of_epoch(documents, epoch, documents_per_epoch, settings.seed)
        done = train_pass(
            model,
            tokenizer,
            chosen,
            settings,
            blocks=blocks,
            epoch=epoch,
            epochs=epochs,
            label=f"epoch {epoch + 1}/{epochs}",
            team=team,
        )
        record["passes"].append(asdict(done))
    return record | _size(model)


def drop_at_once(
    model: nn.Module,
    tokenizer: Any,
    documents: Sequence[Document],
    settings: TrainSettings,
    *,
    rule: str,
    drops: int,
    **options: Any,
) -> dict[str, Any]:
    """Drop whole blocks by a rule of Sajjad et al. (2023), then fine-tune, in place.

    Args:
        rule: one of `select.RULES`; `random` draws with the seed of the settings.
        drops: units to drop, all at once and before any training.
        options: of `fine_tune`.

    Returns:
        The record of `fine_tune`, the rule and the units dropped.
    """
    selection = choose_by_rule(rule, units(model), drops, settings.seed)
    drop(model, selection.dropped)
    record = fine_tune(model, tokenizer, documents, settings, criterion=RULE_CRITERION, **options)
    return record | {
        "rule": rule,
        "units_dropped": [[unit.block, unit.kind] for unit in selection.dropped],
    }


def trim_epoch(
    model: nn.Module,
    tokenizer: Any,
    documents: Sequence[Document],
    calibration: Sequence[Document],
    settings: TrainSettings,
    *,
    criterion: str,
    ratio: float,
    drops: int,
    epoch: int,
    epochs: int,
    trainable: Sequence[int] | None = None,
    initial: Scan | None = None,
    documents_per_epoch: int | None = None,
    eliminate: bool = False,
    row_budget: int | None = None,
    calibration_documents: int | None = None,
    team: Team = ONE,
) -> dict[str, Any]:
    """One epoch of progressive layer dropping, in place (section 3.2): scan, drop, train a pass.

    Epoch 0 drops nothing: it scans, chooses the blocks to train for the whole run, and trains.

    Args:
        criterion: one of `select.CRITERIA`, or a rule of `select.RULES`, which drops at once.
        ratio: share r of the blocks to train.
        drops: units to drop this epoch (0 in epoch 0).
        epoch, epochs: which epoch, of how many including epoch 0.
        trainable: the blocks that epoch 0 chose; None chooses them now.
        initial: a scan of this very model, where there is one already; None scans now.
        eliminate: see `scan`. Ignored where all scores are needed: in a first scan, which has to
            rank all blocks, and for criteria that are not by accuracy.
        calibration_documents: scan on so many of them, the first; None takes all.
        team: who scans and trains (see `train_pass`).

    Returns:
        A record for JSON: units dropped, all scores, ties, margin, loss, seconds, size.
    """
    check_criterion(criterion)
    by_rule = criterion in RULES
    ranked_by = RULE_CRITERION if by_rule else criterion
    may_eliminate = eliminate and trainable is not None and ranked_by in COUNTED
    found = initial or watched_scan(
        model,
        tokenizer,
        calibration[:calibration_documents],
        settings.dtype,
        label=f"scan before epoch {epoch}",
        eliminate=may_eliminate,
        keep=max(1, drops),
        row_budget=row_budget,
        processes=team,
        residual_fault=criterion == AUTHORS,
    )
    blocks = trainable
    if blocks is None:
        blocks = trainable_blocks(found, ranked_by, ratio)
    selection = Selection(())
    if drops and by_rule:
        selection = choose_by_rule(criterion, units(model), drops, settings.seed)
    elif drops:
        selection = choose(found, criterion, drops)
    if selection.dropped:
        drop(model, selection.dropped)
    done = train_pass(
        model,
        tokenizer,
        documents_of_epoch(documents, epoch, documents_per_epoch, settings.seed),
        settings,
        blocks=blocks,
        epoch=epoch,
        epochs=epochs,
        label=f"epoch {epoch}/{epochs - 1}",
        team=team,
    )
    return {
        "epoch": epoch,
        "epochs": epochs,
        "criterion": criterion,
        "compat": AUTHORS if criterion == AUTHORS else None,
        "ratio": ratio,
        "trainable_blocks": list(blocks),
        "units_dropped": [[unit.block, unit.kind] for unit in selection.dropped],
        "ties": selection.ties if drops else None,
        "ties_attention": selection.ties_attention if drops else None,
        "ties_mlp": selection.ties_mlp if drops else None,
        "margin": selection.margin,
        "scan": to_record(found),
        "training": asdict(done),
        "seconds": {"scan": 0.0 if initial else found.seconds, "train": done.seconds},
        "settings": asdict(settings),
        **_size(model),
    }
