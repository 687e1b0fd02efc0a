"""Which Final Mem is smaller, by bounds that intervals leave."""

from __future__ import annotations

import pytest

from trimllm_paper.claims.accuracy import _not_larger, _smaller
from trimllm_paper.intervals import Difference


def test_what_is_smaller_by_how_much_at_least_and_at_most() -> None:
    found = _smaller((40, 35, 50), (60, 55, 70))
    assert found == Difference(20, 5, 35, paired=True)


@pytest.mark.parametrize(
    ("low", "high", "not_larger", "smaller"),
    [
        (5, 9, True, True),
        (0, 9, True, None),
        (0, 0, True, False),
        (-1e-12, 1e-12, True, False),  # what floats leave of 0
        (-5, 9, None, None),
        (-5, 0.5, None, None),
        (-5, 0, None, False),
        (-5, -1, False, False),
        (-5, -0.5, False, False),
    ],
)
def test_bounds_on_both_sides_leave_it_open(
    low: float, high: float, not_larger: bool | None, smaller: bool | None
) -> None:
    one = Difference((low + high) / 2, low, high, paired=True)
    assert _not_larger(one, strict=False) is not_larger
    assert _not_larger(one, strict=True) is smaller
