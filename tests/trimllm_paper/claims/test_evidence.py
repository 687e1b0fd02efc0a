"""How far a chain may go, by its checkpoints' distances to 90% of Full-FT."""

from __future__ import annotations

import pytest

from trimllm.base.intervals import Difference
from trimllm_paper.claims.evidence import Furthest


def distance(points: float, half: float) -> Difference:
    return Difference(points, points - half, points + half, paired=True)


def test_the_furthest_checkpoint_above_the_bar_likely_surely_and_possibly() -> None:
    passes = {
        10.0: distance(5, 2),
        20.0: distance(0.5, 1),
        30.0: distance(-0.5, 1),
        40.0: distance(-5, 2),
    }
    assert Furthest.of(passes) == Furthest(likely=20, surely=10, possibly=30, first=10)
    assert Furthest.of(passes, end=20) == Furthest(likely=20, surely=10, possibly=20, first=10)
    assert str(Furthest.of(passes)) == "10% to 30%"
    # A later checkpoint may do what an earlier one did not.
    assert Furthest.of({**passes, 50.0: distance(9, 1)}).surely == 50
    with pytest.raises(ValueError):
        Furthest.of({})


def test_a_bar_is_no_pass_and_not_to_fail_is_possible() -> None:
    assert Furthest.of({10.0: distance(0, 0)}) == Furthest(None, None, 10, first=10)
    none = Furthest.of({10.0: distance(-3, 1)})
    assert none == Furthest(None, None, None, first=10) and str(none) == "< 10%"


@pytest.mark.parametrize(
    ("surely", "possibly", "asked", "answer"),
    [
        (50, 60, 50, True),
        (50, 60, 40, True),
        (50, 60, 55, None),
        (50, 60, 60, None),
        (50, 60, 61, False),
        (None, 60, 55, None),
        (None, None, 0, False),
        (None, None, 20, False),
        (60, 60, 60, True),
        (60, 60, 61, False),
    ],
)
def test_whether_it_goes_so_far(
    surely: float | None, possibly: float | None, asked: float, answer: bool | None
) -> None:
    assert Furthest(surely, surely, possibly, first=10).at_least(asked) is answer
