"""How far a chain may go, by its checkpoints' distances to 90% of Full-FT."""

from __future__ import annotations

import pytest

from trimllm_paper.claims.evidence import Furthest
from trimllm_paper.intervals import Difference


def distance(points: float, half: float) -> Difference:
    return Difference(points, points - half, points + half, paired=True)


def test_the_furthest_checkpoint_above_the_bar_likely_surely_and_possibly() -> None:
    passes = {
        10.0: distance(5, 2),
        20.0: distance(0.5, 1),
        30.0: distance(-0.5, 1),
        40.0: distance(-5, 2),
    }
    assert Furthest.of(passes) == Furthest(20, 10, 30, fails=40, first=10, last=40)
    assert Furthest.of(passes, end=20) == Furthest(20, 10, 20, fails=None, first=10, last=20)
    assert str(Furthest.of(passes)) == "10% to 30%"
    # A later checkpoint may do what an earlier one did not.
    assert Furthest.of({**passes, 50.0: distance(9, 1)}).surely == 50
    with pytest.raises(ValueError):
        Furthest.of({})


def test_a_bar_is_no_pass_and_not_to_fail_is_possible() -> None:
    assert Furthest.of({10.0: distance(0, 0)}) == Furthest(None, None, 10, None, 10, 10)
    none = Furthest.of({10.0: distance(-3, 1)})
    assert none == Furthest(None, None, None, 10, 10, 10) and str(none) == "< 10%"


@pytest.mark.parametrize(
    ("surely", "possibly", "fails", "asked", "answer"),
    [
        (50, 60, 70, 50, True),
        (50, 60, 70, 40, True),
        (50, 60, 70, 55, None),
        (50, 60, 70, 60, None),
        # Nobody looked between 60 and 70.
        (50, 60, 70, 61, None),
        (60, 60, 70, 62.5, None),
        (50, 60, 70, 70, False),
        (50, 60, 70, 71, False),
        # Nor beyond the last one.
        (60, 60, None, 61, None),
        (60, 60, None, 60, True),
        (None, 60, 70, 55, None),
        (None, None, 10, 10, False),
        (None, None, 10, 20, False),
    ],
)
def test_whether_it_goes_so_far(
    surely: float | None,
    possibly: float | None,
    fails: float | None,
    asked: float,
    answer: bool | None,
) -> None:
    found = Furthest(surely, surely, possibly, fails, first=10, last=fails or 60)
    assert found.at_least(asked) is answer
