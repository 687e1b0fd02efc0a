"""Intervals cover what they say: known truths, with as few documents and seeds as we have.

Answers are drawn from a logistic model with an effect of each document and of each seed; the truth
is the expected accuracy of another document under another seed. A trained model's seeds differ by
2 to 10 points (an effect of 0.1 to 0.4), its documents are far from equally hard (1 to 4).
"""

from __future__ import annotations

import math
from statistics import fmean, variance

import numpy as np
import pytest

from trimllm_paper.intervals import (
    Spread,
    accuracy_interval,
    paired_difference,
    unpaired_difference,
    wilson,
)

DRAWS, ENOUGH = 500, 0.93


def share(logit: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logit))


def expected(rng: np.random.Generator, mean: float, deviation: float) -> float:
    return float(share(mean + rng.normal(0, deviation, 1_000_000)).mean())


def drawn(
    rng: np.random.Generator, mean: float, documents: np.ndarray, seed: float, seeds: int
) -> list[list[int]]:
    """Answers by seed to documents whose effects are given."""
    logit = mean + documents[None, :] + rng.normal(0, seed, (seeds, 1))
    return (rng.random((seeds, documents.size)) < share(logit)).astype(int).tolist()


@pytest.mark.long
@pytest.mark.parametrize("documents", [1.0, 2.0, 4.0])
@pytest.mark.parametrize("seed, width", [(0.0, 15), (0.2, 19), (0.4, 29)])
def test_accuracies_are_covered_and_how_wide_that_is(
    documents: float, seed: float, width: float
) -> None:
    """Three seeds of 160 documents: 8 points to either side if seeds do nothing, 14 if they do."""
    rng = np.random.default_rng(1)
    truth = 100 * expected(rng, 1.0, math.hypot(documents, seed))
    answers = [drawn(rng, 1.0, rng.normal(0, documents, 160), seed, 3) for _ in range(DRAWS)]
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
        cells = [drawn(rng, 1.0, rng.normal(0, 2.0, 400), seed, 3) for _ in range(10)]
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
        first, second = (drawn(rng, mean, documents, seed, seeds) for mean in (0.5, 1.5))
        found = paired_difference(first, second, part)
        hits.append(found.low <= truth <= found.high)
    assert np.mean(hits) >= ENOUGH


@pytest.mark.long
@pytest.mark.parametrize("gap, covered", [(0.5, 0.94), (1.1, 0.82)])
def test_seeds_of_two_kinds_are_covered_less(gap: float, covered: float) -> None:
    """A third of the chains, say those that drop an MLP of massive activations early, is worse by
    7 or 15 points: of three seeds all are of one kind in a third of all runs, and no interval knows
    of the other. LIMITS.md says so."""
    rng = np.random.default_rng(8)
    groups = [expected(rng, mean, 2.0) for mean in (-0.5, -0.5 - gap)]
    truth, hits = 100 * (2 * groups[0] + groups[1]) / 3, []
    for _ in range(2 * DRAWS):
        documents = rng.normal(0, 2.0, 400)
        logit = documents[None, :] - 0.5 - gap * (rng.random((3, 1)) < 1 / 3)
        low, high = accuracy_interval((rng.random(logit.shape) < share(logit)).astype(int).tolist())
        hits.append(low <= truth <= high)
    assert np.mean(hits) == pytest.approx(covered, abs=0.02)


def test_answers_that_are_all_right_keep_an_interval() -> None:
    assert accuracy_interval([[1] * 50] * 3) == wilson(50, 50)
    found = unpaired_difference((100.0, *wilson(50, 50)), (0.0, *wilson(0, 40)))
    assert found.points == 100 and 85 < found.low < 100


def test_no_answers_have_no_interval() -> None:
    for nothing in ([], [[]], [[1], []], [[1, 0], [1]]):
        with pytest.raises(ValueError, match=r"documents|inhomogeneous"):
            accuracy_interval(nothing)
