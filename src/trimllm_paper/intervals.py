"""95% intervals of accuracies and their differences, over documents and seeds.

Another run would differ for two reasons: other documents and other seeds. In the two-way layout of
n documents and S seeds, with mean squares of documents, seeds and residual,

    A = (MS_documents - MS_residual) / (n S)    variance due to documents
    B = MS_seeds / (n S)                        variance due to seeds, S - 1 degrees of freedom

and the half-width is sqrt(z² A + t² B). Three seeds alone give t = 4.3, so `Spread` pools the seed
variance of several cells (`derive.seed_variances`), which brings t to about 2. With one seed and no
pooled variance, the interval covers documents alone. Sources: adding squared half-widths, Newcombe
(1998), method 10; one quantile for each component, Graybill and Wang, JASA 75 (1980).
Accuracies and differences are in percent, answers and variances are fractions.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, variance
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

Answers = Sequence[Sequence[float]]
"""By seed, the score of each document: 1 right, 0 wrong, or a share."""


def student(dof: float) -> float:
    """97.5% quantile of Student's t; of the normal distribution for infinite `dof`."""
    return float(stdtrit(dof, 0.975))


Z95 = student(math.inf)


class Spread(NamedTuple):
    """Variance of the accuracy (a fraction) between seeds, and its degrees of freedom."""

    variance: float
    dof: float


def wilson(correct: float, n: float) -> tuple[float, float]:
    """Wilson's 95% score interval of a proportion, in percent; JASA 22 (1927). Counts may be
    fractional (effective sample sizes), which scipy's `proportion_ci` refuses."""
    p, scale = correct / n, 1 + Z95**2 / n
    centre = (p + Z95**2 / (2 * n)) / scale
    half = Z95 * math.sqrt(p * (1 - p) / n + Z95**2 / (4 * n * n)) / scale
    # Exact at the ends, in spite of rounding.
    low = 0.0 if correct == 0 else max(0.0, centre - half)
    high = 1.0 if correct == n else min(1.0, centre + half)
    return 100 * low, 100 * high


def _residual(values: np.ndarray) -> float:
    """MS_residual / (n S) of a seeds x documents array; 0 for one seed."""
    seeds, n = values.shape
    if min(seeds, n) < 2:
        return 0.0
    means = values.mean(1, keepdims=True) + values.mean(0, keepdims=True) - values.mean()
    return float(((values - means) ** 2).sum()) / ((seeds - 1) * (n - 1) * n * seeds)


def _between_seeds(values: Answers, spread: Spread | None) -> tuple[float, float]:
    """B, and the degrees of freedom of its quantile: pooled with `spread`, else from `values`."""
    if spread:
        return spread.variance / len(values), spread.dof
    if len(values) < 2:
        return 0.0, math.inf
    return variance(fmean(one) for one in values) / len(values), len(values) - 1


def accuracy_interval(answers: Answers, spread: Spread | None = None) -> tuple[float, float]:
    """95% interval of an accuracy over documents and seeds, in percent. The documents' part is
    Wilson's for an effective sample size p (1 - p) / A; for one seed Wilson's interval itself."""
    right, total = sum(map(sum, answers)), sum(map(len, answers))
    p, values = right / total, np.array(answers, dtype=float)
    n = float(values.shape[1])
    a = float(values.mean(0).var()) / n - _residual(values)
    low = high = 100 * p
    if right in (0, total):
        low, high = wilson(p * n, n)
    elif a > 0:
        n = p * (1 - p) / a
        low, high = wilson(p * n, n)
    between, dof = _between_seeds(answers, spread)
    seeds = 100 * student(dof) * math.sqrt(between)
    low, high = (math.hypot(end - 100 * p, seeds) for end in (low, high))
    return max(0.0, 100 * p - low), min(100.0, 100 * p + high)


@dataclass(frozen=True)
class Difference:
    """First minus second accuracy (or a share of it) in percentage points, with its 95% interval;
    `dof`: of the variance between seeds, infinite if documents alone vary."""

    points: float
    low: float
    high: float
    paired: bool
    seeds: int = 1
    dof: float = math.inf

    def __str__(self) -> str:
        return f"{self.points:+.1f} ({self.low:+.1f} to {self.high:+.1f})"


def paired_difference(
    first: Answers, second: Answers, share: float = 1.0, spread: Spread | None = None
) -> Difference:
    """First minus `share` times second accuracy, on the same documents and seeds. The documents'
    part is Wald's interval of the mean over seeds, after adding half a document to each of the four
    outcomes of a pair (Agresti and Min, Statist. Med. 24 (2005)). Scores that are shares have no
    four outcomes: nothing is added and the quantile is Student's."""
    pairs = zip(first, second, strict=True)
    values = [np.asarray(a, dtype=float) - share * np.asarray(b, dtype=float) for a, b in pairs]
    differences = np.mean(values, axis=0)
    n = len(differences)
    if all(score in (0, 1) for scores in (*first, *second) for score in scores):
        centre, quantile = (differences.sum() + 1 - share) / (n + 2), Z95
        squares = (differences**2).sum() + 0.5 * (1 + share**2 + (1 - share) ** 2)
        documents = (squares - (n + 2) * centre**2) / (n + 2) ** 2
    else:
        centre, quantile = differences.mean(), student(max(n, 2) - 1)
        documents = differences.var(ddof=1) / n if n > 1 else 1.0  # one document says nothing
    documents = max(0.0, documents - _residual(np.array(values)))
    between, dof = _between_seeds([one.tolist() for one in values], spread)
    half = math.sqrt(quantile**2 * documents + student(dof) ** 2 * between)
    points = 100 * fmean(float(one.mean()) for one in values)
    ends = max(-100.0 * share, 100 * (centre - half)), min(100.0, 100 * (centre + half))
    return Difference(points, *ends, True, len(first), dof if between else math.inf)


def unpaired_difference(
    first: tuple[float, float, float], second: tuple[float, float, float], share: float = 1.0
) -> Difference:
    """First minus `share` times second accuracy, each given with its interval's ends, in percent.
    Their distances are added in squares: Newcombe, Statist. Med. 17 (1998), method 10."""
    (p, p_low, p_high), (q, q_low, q_high) = first, second
    points = p - share * q
    low = points - math.hypot(p - p_low, share * (q_high - q))
    high = points + math.hypot(p_high - p, share * (q - q_low))
    return Difference(points, low, high, paired=False)


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """95% t interval of a mean of few values; infinite for one value."""
    if len(values) < 2:
        return -math.inf, math.inf
    mean, half = fmean(values), student(len(values) - 1) * math.sqrt(variance(values) / len(values))
    return mean - half, mean + half
