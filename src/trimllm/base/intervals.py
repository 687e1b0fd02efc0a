"""Confidence intervals of accuracies: one proportion, and the difference of two.

All values are in percent or percentage points, as everywhere in the project.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import binomtest

Z95 = 1.959963984540054
"""97.5% quantile of the normal distribution: two-sided intervals of 95%."""


def wilson(correct: int, n: int) -> tuple[float, float]:
    """Wilson's score interval of 95% of a proportion, in percent.

    With p = correct / n: (p + z²/2n ± z·sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n).
    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
    JASA 22 (1927); recommended by Brown, Cai and DasGupta, Statist. Sci. 16 (2001).

    Raises `ValueError` for a count outside 0..n or for no documents.
    """
    if n < 1:
        raise ValueError("no documents have no proportion")
    found = binomtest(correct, n).proportion_ci(method="wilson")
    return 100 * float(found.low), 100 * float(found.high)


@dataclass(frozen=True)
class Difference:
    """First minus second accuracy, in percentage points, with its interval of 95%."""

    points: float
    low: float
    high: float
    paired: bool

    def __str__(self) -> str:
        return f"{self.points:+.1f} ({self.low:+.1f} to {self.high:+.1f})"


def paired_difference(first: Sequence[int], second: Sequence[int]) -> Difference:
    """Difference of two accuracies on the same documents, in the same order.

    `first` and `second` hold 1 for a right and 0 for a wrong answer. Only documents on which the
    two disagree carry information, as in McNemar's test: with b documents right in `first` alone
    and c in `second` alone, the estimate is (b - c) / n. The interval is Wald's after adding 1/2
    to each of the four counts, which keeps its coverage near 95% also for few documents.
    Source: A. Agresti and Y. Min, "Simple improved confidence intervals for comparing matched
    proportions", Statist. Med. 24 (2005).

    Raises `ValueError` when the lists differ in length or are empty.
    """
    n = len(first)
    if n != len(second) or n == 0:
        raise ValueError(f"{n} and {len(second)} answers cannot be paired")
    answers = Counter(zip(map(bool, first), map(bool, second), strict=True))
    only_first, only_second = answers[True, False], answers[False, True]
    total, b, c = n + 2, only_first + 0.5, only_second + 0.5
    centre = (b - c) / total
    spread = Z95 * math.sqrt(b + c - (b - c) ** 2 / total) / total
    return Difference(
        points=100 * (only_first - only_second) / n,
        low=max(-100.0, 100 * (centre - spread)),
        high=min(100.0, 100 * (centre + spread)),
        paired=True,
    )


def unpaired_difference(first: tuple[int, int], second: tuple[int, int]) -> Difference:
    """Difference of two accuracies on different documents, each given as (correct, n).

    Newcombe's interval: the distances from each proportion to its Wilson bounds, added in
    squares. Source: R. G. Newcombe, "Interval estimation for the difference between independent
    proportions", Statist. Med. 17 (1998), method 10.
    """
    p, q = (100 * correct / n for correct, n in (first, second))
    (p_low, p_high), (q_low, q_high) = wilson(*first), wilson(*second)
    return Difference(
        points=p - q,
        low=p - q - math.hypot(p - p_low, q_high - q),
        high=p - q + math.hypot(p_high - p, q - q_low),
        paired=False,
    )
