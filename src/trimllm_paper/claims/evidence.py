"""What the check of a claim reads, and the comparisons that it returns."""

import math
from collections.abc import Container, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, NamedTuple, Self

from scipy.special import stdtr, stdtrit

from trimllm.base.names import PAPER_CRITERION
from trimllm_paper import derive, published
from trimllm_paper.context import Context, Domain
from trimllm_paper.derive import Accuracy, Chain, Ratio
from trimllm_paper.frames import Frame
from trimllm_paper.intervals import mean_interval
from trimllm_paper.recipe import FULL_FT
from trimllm_paper.verdict import NOT_RUN, all_of, word

PAPER_DOMAINS = tuple(c for c in published.table("table2").columns if c in published.DOMAINS)
ALPHA = 0.025
"""One-sided level of a comparison: that of a two-sided interval of 95%."""


class Estimate(NamedTuple):
    """A number with its 95% interval by Student's t; `basis`: documents, rounds or chains."""

    value: float
    low: float
    high: float
    basis: str = ""
    dof: float = math.inf

    @classmethod
    def difference(cls, one: Accuracy, other: Accuracy, share: float = 1.0) -> Self:
        """One accuracy less a share of another."""
        gap = one.minus(other, share)
        basis = f"{one.documents} documents, {gap.seeds} seed{'s' if gap.seeds > 1 else ''}"
        return cls(gap.points, gap.low, gap.high, basis, gap.dof)

    @classmethod
    def rounds(cls, ratio: Ratio, timing: Any) -> Self:
        """A ratio of speeds, as `derive.speedup` gives it."""
        rounds = int(timing.content["protocol"]["repeats"])
        return cls(*ratio, f"{rounds} rounds", rounds - 1)


@dataclass(frozen=True)
class Comparison:
    """A number against a bar. `p_holds` and `p_fails` are one-sided p-values: a small one says that
    the number is on the claim's side of the bar, or on the other."""

    name: str
    value: float
    unit: str
    p_holds: float
    p_fails: float
    basis: str = ""
    low: float | None = None
    high: float | None = None


def compare(
    name: str, one: Estimate, unit: str, bar: float, *, at_most: bool = False
) -> Comparison:
    """Compare a number with the least (or `at_most` the largest) value that a claim allows."""
    above = _p(one.value - bar, one.value - one.low, one.dof)
    below = _p(bar - one.value, one.high - one.value, one.dof)
    p_holds, p_fails = (below, above) if at_most else (above, below)
    ends = [end if math.isfinite(end) else None for end in (one.low, one.high)]
    return Comparison(name, one.value, unit, p_holds, p_fails, one.basis, *ends)


def _p(distance: float, half: float, dof: float) -> float:
    """One-sided p of a distance from the bar, by how far the interval reaches towards the bar."""
    if distance <= 0 or not math.isfinite(half):  # one round or one seed has no interval
        return 1.0
    return float(stdtr(dof, -stdtrit(dof, 1 - ALPHA) * distance / abs(half))) if half else 0.0


def compare_mean(
    name: str, values: Sequence[float], of: str, unit: str, bar: float, *, at_most: bool = False
) -> list[Comparison]:
    """The same with the mean of some domains or chains, if there are any; one has no interval."""
    if not values:
        return []
    count = len(values)
    mean = Estimate(fmean(values), *mean_interval(values), f"{count} {of}", count - 1)
    return [compare(name, mean, unit, bar, at_most=at_most)]


def keeps_90(name: str, trimmed: Accuracy, full: Accuracy) -> Comparison:
    """Whether a model keeps more than 90% of Full-FT's accuracy, the paper's criterion C_a."""
    over = Estimate.difference(trimmed, full, published.KEEPS)
    return compare(name, over, "points over 90% of Full-FT", 0)


def holm(comparisons: Sequence[Comparison]) -> list[bool | None]:
    """Whether each of several comparisons holds, fails, or is undecided. A claim holds if all of
    them do, which needs no correction; one failure refutes it, so failures are corrected for their
    number (S. Holm, Scand. J. Statist. 6, 1979)."""
    answers = [True if one.p_holds < ALPHA else None for one in comparisons]
    by_p = sorted(range(len(comparisons)), key=lambda i: comparisons[i].p_fails)
    for rank, index in enumerate(by_p):
        if comparisons[index].p_fails >= ALPHA / (len(comparisons) - rank):
            break
        answers[index] = False
    return answers


@dataclass(frozen=True)
class Finding:
    """The result of a check. `missing` was needed and not measured; `own`: all is of the paper's
    model, data, hardware; `pooled`: means, which what is missing could turn, refute nothing."""

    comparisons: Sequence[Comparison] = ()
    missing: Sequence[str] = ()
    own: bool = False
    pooled: bool = False

    @property
    def holds(self) -> bool | None:
        """Whether all comparisons hold and nothing is missing; None where that is open."""
        answer = all_of(holm(self.comparisons))
        return None if self.missing and (answer is not False or self.pooled) else answer

    @property
    def verdict(self) -> str:
        """The verdict that the package's docstring explains."""
        return NOT_RUN if self.missing and self.holds is None else word(self.holds, own=self.own)


@dataclass(frozen=True)
class Evidence:
    """The results of one model; `criterion` says whose chains are judged."""

    frame: Frame
    context: Context
    criterion: str = PAPER_CRITERION

    def place(self, domain: Domain) -> tuple[Frame, str, str]:
        """Where functions of `derive` find a domain's results."""
        return self.frame, self.context.model.name, domain.name

    def lacking(self, present: Container[str], what: str) -> list[str]:
        """What is missing in which domains: of the paper's for its own model and data, of the
        configured ones for a stand-in."""
        configured = [one.name for one in self.context.domains]
        needed = PAPER_DOMAINS if self.context.own else configured
        names = ", ".join(name for name in needed if name not in present)
        return [f"{what} in {names}"] if names else []

    def chain(self, criterion: str = "", ratio: float | None = None) -> str:
        """Name of a chain by criterion and ratio; without a ratio the configured recipe's."""
        criterion, recipes = criterion or self.criterion, self.context.recipes
        configured = [name for name, one in recipes.items() if one.criterion == criterion]
        if configured and ratio is None:
            return configured[0]
        return self.context.variant(criterion, ratio or self.context.main.ratio)

    def full(self, domain: Domain) -> Accuracy | None:
        """Full-FT's accuracy on its domain's tests."""
        return derive.accuracy(*self.place(domain), FULL_FT, domain.tasks)

    def trimmed(self, domain: Domain, kept_percent: float) -> Accuracy | None:
        """Accuracy of the chain's checkpoint that stands for a kept fraction."""
        recipe = derive.nearest(*self.place(domain), self.chain(), kept_percent)
        return derive.accuracy(*self.place(domain), recipe, domain.tasks) if recipe else None

    def keeps(self, domain: Domain, name: str) -> dict[float, Comparison]:
        """Percent of the sublayers dropped -> accuracy against 90% of Full-FT's, of a chain's
        checkpoints; empty where the chain or Full-FT was not evaluated."""
        full = self.full(domain)
        checkpoints = derive.checkpoints(*self.place(domain), name, domain.tasks)
        return {100 - one.kept_percent: keeps_90("", one, full) for one in checkpoints if full}

    def halved(self) -> tuple[list[Chain], list[str]]:
        """Chains of all domains and seeds that dropped half of the sublayers; what is missing."""
        every = derive.chains(self.frame, model=self.context.model.name, name=self.chain())
        chains = [one for one in every if one[-1].dropped + one[-1].step > one[-1].units_total // 2]
        return chains, self.lacking({one[0].domain for one in chains}, "the chain to half")
