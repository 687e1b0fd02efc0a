"""Kept fractions as numbers of drops."""

from __future__ import annotations

import pytest

from trimllm.base.kept import drops_for


@pytest.mark.parametrize(
    "kept, units, step, drops",
    [
        (50, 64, 2, 32),
        (40, 64, 2, 38),  # 38.4
        (30, 64, 2, 44),  # 44.8
        (40, 64, 1, 38),
        (30, 64, 1, 45),
        (30, 80, 2, 56),
        (50, 60, 6, 30),
        (40, 60, 6, 36),
        (45, 60, 6, None),
        (45, 60, 2, None),  # 33 is an integer, and odd
        (100, 60, 6, 0),
        (1, 60, 1, 59),
        (0.5, 60, 1, None),  # the nearest would drop them all
    ],
)
def test_drops_for(kept: float, units: int, step: int, drops: int | None) -> None:
    assert drops_for(kept, units, step) == drops
