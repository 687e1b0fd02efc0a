"""Pick a checkpoint out of a trim run: by kept fraction, bytes, accuracy or any other cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from trimllm.base.errors import UserError
from trimllm.base.kept import drops_for

__all__ = ["by_accuracy", "by_limit", "drops_for"]


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
