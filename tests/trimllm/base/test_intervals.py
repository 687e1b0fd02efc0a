"""Intervals against published values, closed forms, and their own definitions."""

from __future__ import annotations

import math
from statistics import fmean, stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from trimllm.base.intervals import (
    Z95,
    accuracy_interval,
    mean_interval,
    paired_difference,
    sign_test,
    unpaired_difference,
    wilson,
)

counts = st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


def answered(right: int, n: int) -> list[int]:
    return [1] * right + [0] * (n - right)


pairs = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=200)


@pytest.mark.parametrize(
    ("correct", "n", "low", "high"),
    [
        (81, 263, 25.53, 36.62),  # Newcombe 1998 (single proportion), table I, method 3
        (15, 148, 6.24, 16.05),
        (0, 20, 0.0, 16.11),
        (1, 29, 0.61, 17.18),
    ],
)
def test_wilson_equals_the_values_in_newcombe(
    correct: int, n: int, low: float, high: float
) -> None:
    assert wilson(correct, n) == pytest.approx((low, high), abs=0.005)


@given(counts)
def test_wilson_bounds_solve_the_score_equation(count: tuple[int, int]) -> None:
    correct, n = count
    p = correct / n
    for bound in wilson(correct, n):
        q = bound / 100
        assert (p - q) ** 2 == pytest.approx(Z95**2 * q * (1 - q) / n, abs=1e-9)


@given(counts)
def test_wilson_contains_the_proportion_and_stays_in_range(count: tuple[int, int]) -> None:
    correct, n = count
    low, high = wilson(correct, n)
    assert 0 <= low <= 100 * correct / n <= high <= 100
    mirrored = wilson(n - correct, n)
    assert mirrored == pytest.approx((100 - high, 100 - low), abs=1e-9)


@pytest.mark.parametrize(("correct", "n"), [(0, 0), (-1, 5), (6, 5)])
def test_wilson_refuses_what_is_no_proportion(correct: int, n: int) -> None:
    with pytest.raises(ValueError):
        wilson(correct, n)


def test_unpaired_difference_equals_the_value_in_newcombe() -> None:
    # Newcombe 1998 (independent proportions), table II, contrast (a), method 10.
    found = unpaired_difference([answered(56, 70)], [answered(48, 80)])
    assert found.points == pytest.approx(20)
    assert (found.low, found.high) == pytest.approx((5.24, 33.39), abs=0.005)


def test_paired_difference_by_hand() -> None:
    first = [1] * 30 + [1] * 12 + [0] * 4 + [0] * 54  # 12 right in the first alone, 4 in the second
    second = [1] * 30 + [0] * 12 + [1] * 4 + [0] * 54
    found = paired_difference([first], [second])
    assert found.points == pytest.approx(8)
    centre, spread = 8 / 102, Z95 * math.sqrt(17 - 64 / 102) / 102
    assert found.low == pytest.approx(100 * (centre - spread))
    assert found.high == pytest.approx(100 * (centre + spread))


@given(pairs)
def test_paired_difference_is_antisymmetric_and_ordered(answers: list[tuple[int, int]]) -> None:
    first, second = ([pair[i] for pair in answers] for i in (0, 1))
    forth, back = paired_difference([first], [second]), paired_difference([second], [first])
    assert forth.points == pytest.approx(100 * (sum(first) - sum(second)) / len(answers))
    assert -100 <= forth.low <= forth.high <= 100
    assert (back.points, back.low, back.high) == pytest.approx(
        (-forth.points, -forth.high, -forth.low)
    )


@given(pairs.filter(lambda pairs: len(pairs) > 20))
def test_pairing_equal_answers_is_tighter_than_not_pairing(answers: list[tuple[int, int]]) -> None:
    first = [pair[0] for pair in answers]
    paired, unpaired = (find([first], [first]) for find in (paired_difference, unpaired_difference))
    assert paired.high - paired.low < unpaired.high - unpaired.low


def test_answers_to_different_documents_cannot_be_paired() -> None:
    with pytest.raises(ValueError, match="cannot be paired"):
        paired_difference([[1, 0]], [[1]])


shares = st.lists(st.tuples(st.floats(0.1, 0.9), st.floats(0, 1)), min_size=2, max_size=50)


@given(shares)
def test_answers_that_count_a_share_have_the_paired_interval_of_students_t(
    answers: list[tuple[float, float]],
) -> None:
    first, second = ([pair[i] for pair in answers] for i in (0, 1))
    found = paired_difference([first], [second])
    low, high = mean_interval([100 * (a - b) for a, b in answers])
    assert (found.low, found.high) == pytest.approx((max(-100, low), min(100, high)), abs=1e-6)


def test_one_answer_that_counts_a_share_tells_nothing() -> None:
    found = paired_difference([[0.5]], [[0.25]])
    assert (found.points, found.low, found.high) == (25, -100, 100)


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
    assert accuracy_interval([answered(*count)]) == wilson(*count)


@given(st.integers(0, 300), st.integers(0, 300))
def test_the_sign_test_is_the_exact_binomial_one(first: int, second: int) -> None:
    if first + second:
        expected = stats.binomtest(first, first + second).pvalue
        assert sign_test(first, second) == pytest.approx(expected, rel=1e-9)
    assert sign_test(first, first) == 1.0


@given(st.lists(st.floats(0, 100), min_size=2, max_size=30))
def test_a_mean_has_the_interval_of_students_t(values: list[float]) -> None:
    scale = stdev(values) / math.sqrt(len(values))
    half = stats.t.ppf(0.975, len(values) - 1) * scale
    expected = fmean(values) - half, fmean(values) + half
    assert mean_interval(values) == pytest.approx(expected, abs=1e-9)


def test_one_value_has_no_interval() -> None:
    assert mean_interval([60.0]) == (-math.inf, math.inf)
