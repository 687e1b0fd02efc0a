"""Intervals against published values, closed forms, and simulations of what they cover.

Simulated answers come from a logistic model with an effect of each document and of each seed; the
truth is the expected accuracy of another document under another seed. A trained model's seeds
differ by 2 to 10 points (an effect of 0.1 to 0.4), its documents differ in hardness (1 to 4).
"""

import math
from statistics import fmean, variance

import numpy as np
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
pairs = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=200)
shares = st.lists(st.tuples(st.floats(0.1, 0.9), st.floats(0, 1)), min_size=2, max_size=50)


@given(counts)
def test_right_and_wrong_answers_of_one_seed_have_scipys_wilson_interval(
    count: tuple[int, int],
) -> None:
    right, n = count
    ends = stats.binomtest(right, n).proportion_ci(method="wilson")
    expected = pytest.approx((100 * ends.low, 100 * ends.high), abs=1e-9)
    assert wilson(right, n) == expected
    assert accuracy_interval([[1] * right + [0] * (n - right)]) == expected


def test_unpaired_difference_equals_the_value_in_newcombe() -> None:
    # Newcombe 1998 (independent proportions), table II, contrast (a), method 10.
    found = unpaired_difference((80.0, *wilson(56, 70)), (60.0, *wilson(48, 80)))
    assert found.points == pytest.approx(20)
    assert (found.low, found.high) == pytest.approx((5.24, 33.39), abs=0.005)


@given(pairs)
def test_paired_difference_is_antisymmetric(answers: list[tuple[int, int]]) -> None:
    first, second = ([pair[i] for pair in answers] for i in (0, 1))
    for spread in (None, Spread(1e-4, 3)):
        forth = paired_difference([first], [second], spread=spread)
        back = paired_difference([second], [first], spread=spread)
        assert forth.points == pytest.approx(100 * (sum(first) - sum(second)) / len(answers))
        assert -100 <= forth.low <= forth.high <= 100
        ends = (-forth.points, -forth.high, -forth.low)
        assert (back.points, back.low, back.high) == pytest.approx(ends)
        assert forth.dof == (3 if spread else math.inf)


@given(shares)
def test_answers_that_count_a_share_have_the_paired_interval_of_students_t(
    answers: list[tuple[float, float]],
) -> None:
    first, second = ([pair[i] for pair in answers] for i in (0, 1))
    found = paired_difference([first], [second])
    low, high = mean_interval([100 * (a - b) for a, b in answers])
    assert (found.low, found.high) == pytest.approx((max(-100, low), min(100, high)), abs=1e-6)


# ---- what they cover

DRAWS, ENOUGH = 500, 0.93


def expected(rng: np.random.Generator, mean: float, deviation: float) -> float:
    logit = mean + rng.normal(0, deviation, 1_000_000)
    return float((1 / (1 + np.exp(-logit))).mean())


def of_seeds(
    rng: np.random.Generator, mean: float, documents: np.ndarray, seed: float, seeds: int
) -> list[list[int]]:
    """Answers by seed to documents whose effects are given."""
    logit = mean + documents[None, :] + rng.normal(0, seed, (seeds, 1))
    return (rng.random(logit.shape) < 1 / (1 + np.exp(-logit))).astype(int).tolist()


@pytest.mark.long
@pytest.mark.parametrize("documents", [1.0, 2.0, 4.0])
@pytest.mark.parametrize("seed, width", [(0.0, 15), (0.2, 19), (0.4, 29)])
def test_accuracies_are_covered_and_how_wide_that_is(
    documents: float, seed: float, width: float
) -> None:
    """Three seeds of 160 documents: 8 points to either side if seeds do nothing, 14 if they do."""
    rng = np.random.default_rng(1)
    truth = 100 * expected(rng, 1.0, math.hypot(documents, seed))
    answers = [of_seeds(rng, 1.0, rng.normal(0, documents, 160), seed, 3) for _ in range(DRAWS)]
    found = np.array([accuracy_interval(one) for one in answers])
    assert np.mean((found[:, 0] <= truth) & (truth <= found[:, 1])) >= ENOUGH
    if documents == 2.0:
        assert np.mean(found[:, 1] - found[:, 0]) == pytest.approx(width, abs=4)


@pytest.mark.parametrize("seed", [0.0, 0.2, 0.4])
def test_pooled_seeds_are_covered_by_narrower_intervals(seed: float) -> None:
    """Ten cells of a recipe, three seeds each: t of 20 degrees of freedom in place of two."""
    rng = np.random.default_rng(2)
    truth = 100 * expected(rng, 1.0, math.hypot(2.0, seed))
    hits, alone, pooled = [], [], []
    for _ in range(DRAWS // 10):
        cells = [of_seeds(rng, 1.0, rng.normal(0, 2.0, 400), seed, 3) for _ in range(10)]
        spread = Spread(fmean(variance(map(fmean, cell)) for cell in cells), 20)
        for cell in cells:
            low, high = accuracy_interval(cell, spread=spread)
            hits.append(low <= truth <= high)
            pooled.append(high - low)
            alone.append(np.ptp(accuracy_interval(cell)))
    assert np.mean(hits) >= ENOUGH
    assert np.mean(pooled) < np.mean(alone)


@pytest.mark.long
@pytest.mark.parametrize("part", [1.0, 0.9])
@pytest.mark.parametrize("seeds, seed", [(1, 0.0), (3, 0.0), (3, 0.2), (3, 0.4)])
def test_paired_differences_are_covered(seeds: int, seed: float, part: float) -> None:
    """Two models on the same documents, whose seeds go their own ways."""
    rng = np.random.default_rng(3)
    spread = math.hypot(2.0, seed)
    truth = 100 * (expected(rng, 0.5, spread) - part * expected(rng, 1.5, spread))
    hits = []
    for _ in range(DRAWS):
        documents = rng.normal(0, 2.0, 160)
        first, second = (of_seeds(rng, mean, documents, seed, seeds) for mean in (0.5, 1.5))
        found = paired_difference(first, second, part)
        hits.append(found.low <= truth <= found.high)
    assert np.mean(hits) >= ENOUGH


def test_answers_that_are_all_right_keep_an_interval() -> None:
    assert accuracy_interval([[1] * 50] * 3) == wilson(50, 50)
    found = unpaired_difference((100.0, *wilson(50, 50)), (0.0, *wilson(0, 40)))
    assert found.points == 100 and 85 < found.low < 100
