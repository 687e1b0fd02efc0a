"""Kept fractions as numbers of drops; light, since a workflow is planned with it."""

from __future__ import annotations

import math


def drops_for(kept_percent: float, units: int, step: int = 1) -> int | None:
    """Drops after which `kept_percent` of the units are left, or None if no epoch ends there.

    The nearest end of an epoch counts if it is less than one unit away: 40% of LLaMA-7B's 64
    units are 25.6, which no integer meets exactly.
    """
    exact = units * (1 - kept_percent / 100)
    epochs = math.ceil(exact / step - 0.5 - 1e-9)
    drops = epochs * step
    return drops if abs(drops - exact) < 1 - 1e-9 and drops < units else None
