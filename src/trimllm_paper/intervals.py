"""Confidence intervals of accuracies, over documents and seeds together.

Answers are right or wrong by document and by seed, or right by a share. What another run would find
differs for two reasons: other documents, and another seed. Their variances are kept apart. In the
two-way layout of n documents and S seeds, with mean squares of documents, seeds and what is left,

    A = (MS_documents - MS_left) / (n S)   of which documents are asked, n - 1 degrees of freedom
    B = MS_seeds / (n S)                   of the seed, and of answers that seeds give anew; S - 1

and the two are added in squares, each with its own quantile: half² = z² A + t²(S - 1) B. Three
seeds tell little of their variance, so t is 4.3. With one seed, B is unknown: the interval is of
documents alone, and whoever shows it says so. Seeds on documents of their own have A in B.

Sources: adding in squares as in Newcombe (1998), method 10; a quantile for each component as in
F. A. Graybill and C.-M. Wang, "Confidence intervals on nonnegative linear combinations of
variances", JASA 75 (1980). `tests/trimllm_paper/test_coverage.py` simulates known truths: nominal
95% covers 93% or more (Satterthwaite's single t falls to 91% where seeds matter most), and says how
wide that is.

All values are in percent or percentage points, as everywhere in the project.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, variance

from scipy.special import bdtr, stdtrit

Z95 = 1.959963984540054
"""97.5% quantile of the normal distribution: two-sided intervals of 95%."""
Answers = Sequence[Sequence[float]]
"""By seed, what the answer to each document counts: 1 a right, 0 a wrong one; or a share."""


def _right_or_wrong(answers: Answers) -> bool:
    """Whether no answer counts a share."""
    return all(value in (0, 1) for each in answers for value in each)


def _student(values: int) -> float:
    """97.5% quantile of Student's t of the mean of so many values."""
    return float(stdtrit(values - 1, 0.975))


def wilson(correct: float, n: float) -> tuple[float, float]:
    """Wilson's score interval of 95% of a proportion, in percent.

    With p = correct / n: (p + z²/2n ± z·sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n); counts may be
    effective ones, no whole numbers.
    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
    JASA 22 (1927); recommended by Brown, Cai and DasGupta, Statist. Sci. 16 (2001).

    Raises `ValueError` for a count outside 0..n or for no documents.
    """
    if not n > 0 or not 0 <= correct <= n:
        raise ValueError(f"{correct} of {n} documents are no proportion")
    p, shrunk = correct / n, 1 + Z95**2 / n
    centre = (p + Z95**2 / (2 * n)) / shrunk
    spread = Z95 * math.sqrt(p * (1 - p) / n + Z95**2 / (4 * n * n)) / shrunk
    # Exact at the ends, where the formula is and floats are not.
    low = 0.0 if correct == 0 else max(0.0, centre - spread)
    high = 1.0 if correct == n else min(1.0, centre + spread)
    return 100 * low, 100 * high


def _by_document(values: Sequence[Sequence[float]]) -> list[float]:
    """Each document's mean over seeds."""
    return [fmean(column) for column in zip(*values, strict=True)]


def _left(values: Sequence[Sequence[float]]) -> float:
    """MS_left / (n S): what is neither a document's nor a seed's own; 0 for one seed."""
    seeds, n = len(values), len(values[0])
    if seeds < 2 or n < 2:
        return 0.0
    rows, columns = [fmean(one) for one in values], _by_document(values)
    squares = sum(sum(v * v for v in one) for one in values) + n * seeds * fmean(rows) ** 2
    squares -= seeds * sum(c * c for c in columns) + n * sum(r * r for r in rows)
    return max(0.0, squares) / ((seeds - 1) * (n - 1) * n * seeds)


def _of_seeds(values: Sequence[Sequence[float]]) -> float:
    """t² B, the seeds' part of half²; 0 for one seed, of which nobody knows it."""
    if len(values) < 2:
        return 0.0
    b = variance(fmean(one) for one in values) / len(values)
    return _student(len(values)) ** 2 * b


def accuracy_interval(answers: Answers, *, same: bool = True) -> tuple[float, float]:
    """Interval of 95% of an accuracy over documents and seeds, in percent.

    The documents' part is Wilson's, of as many documents as have variance A, as surveys do with an
    effective sample size; with one seed, and right and wrong answers, it is Wilson's itself.

    Args:
        same: whether the seeds answered the same documents, in the same order; else each has
            documents of its own, and these are part of what seeds do.

    Raises `ValueError` without answers, or for the same documents in lists of other lengths.
    """
    if not answers or not all(map(len, answers)):
        raise ValueError("no documents have no proportion")
    right, total = sum(map(sum, answers)), sum(map(len, answers))
    p, seeds = right / total, _of_seeds(answers)
    if len(answers) == 1 and _right_or_wrong(answers):
        return wilson(right, total)
    a = 0.0
    if same:
        documents = _by_document(answers)
        a = fmean((one - p) ** 2 for one in documents) / len(documents) - _left(answers)
    if right in (0, total):
        n = len(documents) if same else total
        low, high = wilson(p * n, n)
    elif a > 0:
        effective = p * (1 - p) / a
        low, high = wilson(p * effective, effective)
    else:
        low = high = 100 * p
    down, up = (math.hypot(end - 100 * p, 100 * math.sqrt(seeds)) for end in (low, high))
    return max(0.0, 100 * p - down), min(100.0, 100 * p + up)


@dataclass(frozen=True)
class Difference:
    """First minus second accuracy (or a share of it), in percentage points, with its interval."""

    points: float
    low: float
    high: float
    paired: bool
    seeds: int = 1

    def __str__(self) -> str:
        return f"{self.points:+.1f} ({self.low:+.1f} to {self.high:+.1f})"


def paired_difference(
    first: Answers, second: Answers, share: float = 1.0, *, same: bool = True
) -> Difference:
    """First minus `share` times second accuracy, the same documents and seeds in the same order.

    By document d = first - share · second, mean over seeds; the interval of documents is Wald's
    after adding half a document to each of the four outcomes that an answer of both can have, which
    keeps its coverage near 95% also for few documents. For one seed and a share of 1 that is
    A. Agresti and Y. Min, "Simple improved confidence intervals for comparing matched
    proportions", Statist. Med. 24 (2005). Where answers count a share there are no four outcomes:
    nothing is added, and the quantile is Student's. To it the seeds' part is added (see the
    module).

    Args:
        same: as for `accuracy_interval`.

    Raises `ValueError` when the lists differ in length or are empty.
    """
    sizes = [len(one) for one in first], [len(one) for one in second]
    if sizes[0] != sizes[1] or not sizes[0] or not all(sizes[0]):
        raise ValueError(f"{sizes[0]} and {sizes[1]} answers cannot be paired")
    values = [
        [a - share * b for a, b in zip(own, other, strict=True)]
        for own, other in zip(first, second, strict=True)
    ]
    one_list = same or len(values) == 1
    found = _by_document(values) if one_list else [d for seed in values for d in seed]
    n = len(found)
    if _right_or_wrong((*first, *second)):
        centre = (sum(found) + 1 - share) / (n + 2)
        squares = sum(one * one for one in found) + 0.5 * (1 + share**2 + (1 - share) ** 2)
        spread, z = (squares - (n + 2) * centre**2) / (n + 2) ** 2, Z95
    else:
        centre, z = fmean(found), _student(max(n, 2))
        spread = variance(found) / n if n > 1 else 1.0  # one says nothing
    documents = spread - _left(values) if one_list else 0.0
    half = math.sqrt(z**2 * max(0.0, documents) + _of_seeds(values))
    return Difference(
        points=100 * fmean(found),
        low=max(-100.0 * share, 100 * (centre - half)),
        high=min(100.0, 100 * (centre + half)),
        paired=True,
        seeds=len(first),
    )


def unpaired_difference(
    first: Answers, second: Answers, share: float = 1.0, *, same: tuple[bool, bool] = (True, True)
) -> Difference:
    """First minus `share` times second accuracy, on different documents or seeds.

    Newcombe's interval: the distances from each accuracy to its bounds, added in squares. Source:
    R. G. Newcombe, "Interval estimation for the difference between independent proportions",
    Statist. Med. 17 (1998), method 10.
    """
    p, q = (100 * sum(map(sum, one)) / sum(map(len, one)) for one in (first, second))
    (p_low, p_high), (q_low, q_high) = (
        accuracy_interval(one, same=kept) for one, kept in zip((first, second), same, strict=True)
    )
    points = p - share * q
    return Difference(
        points=points,
        low=points - math.hypot(p - p_low, share * (q_high - q)),
        high=points + math.hypot(p_high - p, share * (q - q_low)),
        paired=False,
        seeds=min(len(first), len(second)),
    )


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """t interval of 95% of a mean of few values, such as one a domain.

    One value says nothing of how far another would lie: its interval has no ends.
    """
    mean = fmean(values)
    if len(values) < 2:
        return -math.inf, math.inf
    half = _student(len(values)) * math.sqrt(variance(values) / len(values))
    return mean - half, mean + half


def sign_test(first: int, second: int) -> float:
    """Two-sided p: how likely a split at least as uneven is where both are equally likely."""
    return min(1.0, 2 * float(bdtr(min(first, second), first + second, 0.5)))
