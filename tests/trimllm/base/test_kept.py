"""Kept fractions as numbers of drops."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimllm.base.kept import drops_for, epochs_for


@pytest.mark.parametrize(
    "kept, units, step, drops",
    [
        (40, 64, 2, 38),  # 38.4
        (30, 64, 1, 45),  # 44.8
        (45, 60, 2, None),  # 33 is an integer, and odd
        (100, 60, 6, 0),
        (0.5, 60, 1, None),  # the nearest would drop them all
    ],
)
def test_drops_for(kept, units, step, drops):
    assert drops_for(kept, units, step) == drops


@given(st.floats(0, 200), st.integers(1, 9))
def test_a_chain_ends_at_the_nearest_end_of_an_epoch(drops, step):
    nearest = min(abs(epochs * step - drops) for epochs in range(202))
    assert abs(epochs_for(drops, step) * step - drops) == pytest.approx(nearest, abs=1e-6)
