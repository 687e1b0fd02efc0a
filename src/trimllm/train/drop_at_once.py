"""Dropping without a scan, the baseline of Sajjad et al. (2023): all at once, then fine-tune."""

from __future__ import annotations

from typing import Any

from torch import nn

from trimllm.select import choose_by_rule
from trimllm.train.fine_tune import fine_tune
from trimllm.train.settings import TrainSettings
from trimllm.units import drop, units

# Rules rank nothing; the blocks that are trained are chosen as by the paper's main criterion.
RANKED_BY = "both"


def drop_at_once(
    model: nn.Module,
    tokenizer: Any,
    *,
    rule: str,
    dropped: int,
    settings: TrainSettings,
    **options: Any,
) -> dict[str, Any]:
    """Drop whole blocks by a rule, then fine-tune, in place.

    Args:
        rule: "random" (draws with the seed of the settings), "top" or "bottom".
        dropped: units to drop, all at once and before any training.
        options: of `fine_tune`.

    Returns:
        The record of `fine_tune`, the rule and the units dropped.
    """
    selection = choose_by_rule(rule, units(model), dropped, settings.seed)
    drop(model, selection.dropped)
    record = fine_tune(model, tokenizer, settings=settings, criterion=RANKED_BY, **options)
    return record | {
        "rule": rule,
        "units_dropped": [[unit.block, unit.kind] for unit in selection.dropped],
    }
