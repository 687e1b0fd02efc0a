"""From kept fractions to numbers of drops; light, since planning imports it."""

import math


def epochs_for(drops: float, step: int) -> int:
    """Epochs of `step` drops that come nearest to `drops`, the fewer of two equally near: 40% of
    LLaMA-7B's 64 sublayers are 38.4 drops: two at a time, 19 epochs (38)."""
    return max(0, math.ceil(drops / step - 0.5 - 1e-9))


def drops_for(kept_percent: float, units: int, step: int = 1) -> int | None:
    """Drops after which `kept_percent` of the sublayers are left; None if the nearest end of an
    epoch is a whole sublayer away or leaves nothing."""
    exact = units * (1 - kept_percent / 100)
    drops = epochs_for(exact, step) * step
    return drops if abs(drops - exact) < 1 - 1e-9 and drops < units else None
