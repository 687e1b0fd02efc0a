"""Pick a checkpoint out of a trim run: by kept fraction, bytes, accuracy or any other cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from trimllm.errors import UserError


def drops_for(kept_percent: float, units_total: int) -> int:
    """Fewest drops after which at most `kept_percent` % of a model's units are left.

    30 of LLaMA-7B's 64 units are 46.9%, 32 are 50%: `drops_for(50, 64)` is 32.
    """
    if not 0 < kept_percent <= 100:
        raise UserError(f"kept fraction {kept_percent}% is not in (0, 100]")
    drops = units_total - math.floor(round(units_total * kept_percent / 100, 9))
    if drops >= units_total:
        raise UserError(f"kept fraction {kept_percent}% of {units_total} units keeps none")
    return drops


def _pick(
    points: Sequence[dict[str, Any]], fits: Callable[[dict[str, Any]], bool], wish: str
) -> dict[str, Any]:
    fitting = [point for point in points if fits(point)]
    if not fitting:
        raise UserError(f"no checkpoint of the run {wish}")
    return fitting[0]


def by_limit(points: Sequence[dict[str, Any]], key: str, limit: float) -> dict[str, Any]:
    """The largest checkpoint whose `key` (bytes, seconds a token: C_e) is at most `limit`.

    Args:
        points: one dictionary a checkpoint, with "drops" and `key`.
    """
    ordered = sorted(points, key=lambda point: point["drops"])
    return _pick(ordered, lambda point: point[key] <= limit, f"has {key} of at most {limit}")


def by_accuracy(
    points: Sequence[dict[str, Any]], full: float, share: float = 0.9
) -> dict[str, Any]:
    """The smallest checkpoint that keeps more than `share` of an accuracy (Algorithm 1, C_a).

    With the accuracy of full fine-tuning this is the Final Mem of Tables 3 and 6. Checkpoints
    beyond it may be better again by luck; the last one above the bar counts.
    """
    ordered = sorted(points, key=lambda point: -point["drops"])
    wish = f"keeps more than {share:.0%} of {full}"
    return _pick(ordered, lambda point: point["accuracy"] > share * full, wish)
