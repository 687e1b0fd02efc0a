"""Kept fractions as numbers of drops."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimllm.base.kept import drops_for, epochs_for


@pytest.mark.parametrize(
    "kept, units, step, drops",
    [
        (50, 64, 2, 32),
        (40, 64, 2, 38),  # 38.4
        (30, 64, 2, 44),  # 44.8
        (40, 64, 1, 38),
        (30, 64, 1, 45),
        (45, 60, 6, None),
        (45, 60, 2, None),  # 33 is an integer, and odd
        (100, 60, 6, 0),
        (0.5, 60, 1, None),  # the nearest would drop them all
    ],
)
def test_drops_for(kept: float, units: int, step: int, drops: int | None) -> None:
    assert drops_for(kept, units, step) == drops


@given(st.floats(0, 200), st.integers(1, 9))
def test_a_chain_ends_at_the_nearest_end_of_an_epoch(drops: float, step: int) -> None:
    ends = [abs(epochs * step - drops) for epochs in range(202)]
    assert ends[epochs_for(drops, step)] == pytest.approx(min(ends), abs=1e-6)
    assert epochs_for(drops, step) == ends.index(min(ends)) or epochs_for(drops, step) + 1 == (
        ends.index(min(ends))  # by rounding: equally near
    )


@given(st.floats(1, 100), st.integers(8, 200), st.integers(1, 9))
def test_a_kept_fraction_is_met_to_within_one_unit_or_not_at_all(
    percent: float, total: int, step: int
) -> None:
    drops = drops_for(percent, total, step)
    exact = total * (1 - percent / 100)
    distance = min(abs(d - exact) for d in range(0, total + step, step))
    if drops is None:
        # no epoch ends near enough, or the nearest end would leave nothing
        assert distance > 1 - 1e-6 or exact > total - step / 2 - 1e-6
    else:
        assert drops < total and drops % step == 0
        assert abs(drops - exact) == pytest.approx(distance) and distance < 1
