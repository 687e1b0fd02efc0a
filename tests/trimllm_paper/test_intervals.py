"""Intervals against published values, closed forms, and their own definitions."""

from __future__ import annotations

import math
from statistics import fmean, stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from trimllm_paper.intervals import (
    Spread,
    accuracy_interval,
    mean_interval,
    paired_difference,
    unpaired_difference,
    wilson,
)

counts = st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


def answered(right: int, n: int) -> list[int]:
    return [1] * right + [0] * (n - right)


pairs = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=200)


@given(counts)
def test_wilson_of_whole_counts_is_scipys(count: tuple[int, int]) -> None:
    found = stats.binomtest(*count).proportion_ci(method="wilson")
    assert wilson(*count) == pytest.approx((100 * found.low, 100 * found.high), abs=1e-9)


@pytest.mark.parametrize(("correct", "n"), [(0, 0), (-1, 5), (6, 5)])
def test_wilson_refuses_what_is_no_proportion(correct: int, n: int) -> None:
    with pytest.raises(ValueError):
        wilson(correct, n)


def test_unpaired_difference_equals_the_value_in_newcombe() -> None:
    # Newcombe 1998 (independent proportions), table II, contrast (a), method 10.
    found = unpaired_difference((80.0, *wilson(56, 70)), (60.0, *wilson(48, 80)))
    assert found.points == pytest.approx(20)
    assert (found.low, found.high) == pytest.approx((5.24, 33.39), abs=0.005)


@given(pairs)
def test_paired_difference_is_antisymmetric_and_ordered(answers: list[tuple[int, int]]) -> None:
    first, second = ([pair[i] for pair in answers] for i in (0, 1))
    forth, back = paired_difference([first], [second]), paired_difference([second], [first])
    assert forth.points == pytest.approx(100 * (sum(first) - sum(second)) / len(answers))
    assert -100 <= forth.low <= forth.high <= 100
    assert (back.points, back.low, back.high) == pytest.approx(
        (-forth.points, -forth.high, -forth.low)
    )


shares = st.lists(st.tuples(st.floats(0.1, 0.9), st.floats(0, 1)), min_size=2, max_size=50)


@given(shares)
def test_answers_that_count_a_share_have_the_paired_interval_of_students_t(
    answers: list[tuple[float, float]],
) -> None:
    first, second = ([pair[i] for pair in answers] for i in (0, 1))
    found = paired_difference([first], [second])
    low, high = mean_interval([100 * (a - b) for a, b in answers])
    assert (found.low, found.high) == pytest.approx((max(-100, low), min(100, high)), abs=1e-6)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50).filter(lambda v: 0.01 < fmean(v) < 0.99))
def test_shares_are_an_accuracy_whose_interval_is_no_wider_than_of_right_and_wrong_answers(
    answers: list[float],
) -> None:
    n, right = len(answers), sum(answers)
    low, high = accuracy_interval([answers])
    assert low <= 100 * right / n + 1e-9 and 100 * right / n - 1e-9 <= high
    widest = wilson(right, n)
    assert widest[0] - 1e-6 <= low and high <= widest[1] + 1e-6


@given(counts)
def test_right_and_wrong_answers_of_one_seed_have_wilsons_interval(count: tuple[int, int]) -> None:
    assert accuracy_interval([answered(*count)]) == pytest.approx(wilson(*count), abs=1e-9)


@given(pairs)
def test_the_p_value_is_below_a_twentieth_where_the_interval_excludes_zero(
    answers: list[tuple[int, int]],
) -> None:
    first, second = ([pair[i] for pair in answers] for i in (0, 1))
    for spread in (None, Spread(1e-4, 3)):
        found = paired_difference([first], [second], spread=spread)
        assert (found.p < 0.05) == (found.low > 0 or found.high < 0)
        assert found.dof == (3 if spread else math.inf)


@given(st.lists(st.floats(0, 100), min_size=2, max_size=30))
def test_a_mean_has_the_interval_of_students_t(values: list[float]) -> None:
    scale = stdev(values) / math.sqrt(len(values))
    half = stats.t.ppf(0.975, len(values) - 1) * scale
    expected = fmean(values) - half, fmean(values) + half
    assert mean_interval(values) == pytest.approx(expected, abs=1e-9)
