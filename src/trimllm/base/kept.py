"""Which end of an epoch a kept fraction means; light, since a workflow is planned with it."""

from __future__ import annotations

import math


def epochs_for(drops: float, step: int) -> int:
    """Epochs of `step` drops whose end is nearest to so many drops; of two equally near the first.

    40% of LLaMA-7B's 64 units are 38.4 drops, two at a time 19 epochs (38).
    """
    return max(0, math.ceil(drops / step - 0.5 - 1e-9))


def drops_for(kept_percent: float, units: int, step: int = 1) -> int | None:
    """Drops after which `kept_percent` of the units are left, or None if the nearest end of an
    epoch is a unit or more away, or leaves nothing."""
    exact = units * (1 - kept_percent / 100)
    drops = epochs_for(exact, step) * step
    return drops if abs(drops - exact) < 1 - 1e-9 and drops < units else None
