"""What the check of a claim is given, and the comparisons that it returns."""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass

from scipy.special import stdtr, stdtrit

from trimllm.base.names import PAPER_CRITERION
from trimllm_paper import derive, published
from trimllm_paper.context import Context, Domain
from trimllm_paper.derive import Accuracy, Chain
from trimllm_paper.frames import Frame
from trimllm_paper.intervals import Difference, mean_interval
from trimllm_paper.recipe import FULL_FT
from trimllm_paper.verdict import KEEPS, all_of

PAPER_DOMAINS = tuple(c for c in published.table("table2").columns if c in published.DOMAINS)
ALPHA = 0.025
"""One-sided level of a comparison: that of a two-sided interval of 95%."""
NORMAL = math.inf
"""Degrees of freedom of an interval by the normal distribution."""


@dataclass(frozen=True)
class Comparison:
    """A number against a bar. `p_holds` and `p_fails` are one-sided p-values: a small one says that
    the number is on the claim's side of the bar, or on the other. `basis` says of how many
    documents, rounds or chains the number is."""

    name: str
    value: float
    unit: str
    p_holds: float
    p_fails: float
    basis: str = ""
    low: float | None = None
    high: float | None = None

    def with_unit(self, number: str) -> str:
        """A number of this kind with its unit."""
        return f"{number}{self.unit}" if self.unit.startswith("%") else f"{number} {self.unit}"


def compare(
    name: str,
    value: float,
    interval: tuple[float, float],
    unit: str,
    basis: str = "",
    *,
    least: float | None = None,
    most: float | None = None,
    dof: float = NORMAL,
) -> Comparison:
    """Compare a number, by its 95% interval, with the least or else the most that a claim allows.

    p is that of Student's t with `dof` degrees of freedom, as the interval is taken to be.
    """
    sign, bar = (-1.0, most) if least is None else (1.0, least)
    assert bar is not None
    ps = []
    for away, end in zip((value - bar, bar - value), interval, strict=True):
        half = abs(end - value)
        if away <= 0 or dof < 1 or not math.isfinite(half):  # one round or one seed alone
            ps.append(1.0)
        else:
            ps.append(float(stdtr(dof, -stdtrit(dof, 1 - ALPHA) * away / half)) if half else 0.0)
    low, high = (None if math.isinf(end) else end for end in interval)
    p_holds, p_fails = ps[:: int(sign)]
    return Comparison(name, value, unit, p_holds, p_fails, basis, low, high)


def compare_mean(
    name: str, values: Sequence[float], unit: str, counted: str, **bar: float
) -> Comparison:
    """Compare a mean over domains or chains; one value alone decides nothing."""
    mean, count = sum(values) / len(values), len(values)
    ends = mean_interval(values)
    return compare(name, mean, ends, unit, f"{count} {counted}", dof=max(1, count - 1), **bar)


def compare_difference(
    name: str, one: Difference, unit: str, documents: int, **bar: float
) -> Comparison:
    """Compare a difference of accuracies."""
    basis = f"{documents} documents, {one.seeds} seed{'s' if one.seeds > 1 else ''}"
    return compare(
        name,
        one.points,
        (one.low, one.high),
        unit,
        basis,
        dof=one.dof,
        **bar,
    )


def keeps_90(name: str, trimmed: Accuracy, full: Accuracy) -> Comparison:
    """Whether a model keeps more than 90% of Full-FT's accuracy, the paper's criterion C_a."""
    over, unit = trimmed.minus(full, KEEPS), "points over 90% of Full-FT"
    return compare_difference(name, over, unit, trimmed.documents, least=0)


def holm(comparisons: Sequence[Comparison]) -> list[bool | None]:
    """Whether each of several comparisons holds, fails, or is undecided.

    A claim holds if all of them do, which needs no correction; one that fails refutes it, so
    failures are corrected for their number. Source: S. Holm, "A simple sequentially rejective
    multiple test procedure", Scand. J. Statist. 6 (1979).
    """
    answers = [True if one.p_holds < ALPHA else None for one in comparisons]
    for rank, index in enumerate(
        sorted(range(len(comparisons)), key=lambda i: comparisons[i].p_fails)
    ):
        if comparisons[index].p_fails >= ALPHA / (len(comparisons) - rank):
            break
        answers[index] = False
    return answers


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes:
        missing: what was not measured and is needed for the claim to hold; "" for nothing.
        own: whether everything measured is the paper's own model, data and hardware.
        pooled: comparisons are of means, which what is missing could turn: it then refutes nothing.
        note: a sentence beneath the comparisons.
    """

    comparisons: Sequence[Comparison] = ()
    missing: str = ""
    own: bool = False
    pooled: bool = False
    note: str = ""

    @property
    def holds(self) -> bool | None:
        """Whether all comparisons hold and nothing is missing; None where that is open."""
        answer = all_of(holm(self.comparisons))
        return None if self.missing and (answer is not False or self.pooled) else answer


@dataclass(frozen=True)
class Evidence:
    """What was measured of one model; `criterion` says whose chains are asked about."""

    frame: Frame
    context: Context
    criterion: str = PAPER_CRITERION

    @property
    def model(self) -> str:
        """The model's name in paths."""
        return self.context.model.name

    @property
    def asked(self) -> list[str]:
        """Domains of a claim on every domain: of the paper's own model and data all of the paper's,
        of a stand-in those of its configuration."""
        configured = [one.name for one in self.context.domains]
        return list(PAPER_DOMAINS) if self.context.own else configured

    def lacking(self, present: Container[str], what: str) -> str:
        """What is missing in which of these domains; "" for nothing."""
        names = ", ".join(name for name in self.asked if name not in present)
        return f"{what} in {names}" if names else ""

    def chain(self, criterion: str = "", ratio: float | None = None) -> str:
        """Name of a chain by criterion and ratio; without a ratio the configured recipe's."""
        criterion = criterion or self.criterion
        shown = [name for name, one in self.context.recipes.items() if one.criterion == criterion]
        if shown and ratio is None:
            return shown[0]
        return self.context.variant(criterion, ratio or self.context.main.ratio)

    def accuracy(self, domain: Domain, recipe: str | None) -> Accuracy | None:
        """Accuracy of a recipe on its own domain's tests."""
        place = (self.frame, self.model, domain.name)
        return derive.accuracy(*place, recipe, domain.tasks) if recipe else None

    def trimmed(self, domain: Domain, kept_percent: float) -> Accuracy | None:
        """Accuracy of the chain's checkpoint that stands for a kept fraction."""
        place = (self.frame, self.model, domain.name, self.chain())
        return self.accuracy(domain, derive.nearest(*place, kept_percent))

    def keeps(self, domain: Domain, name: str) -> dict[float, Comparison]:
        """Percent of the sublayers dropped -> accuracy against 90% of Full-FT's, of a chain's
        checkpoints; empty where the chain or Full-FT was not evaluated."""
        full = self.accuracy(domain, FULL_FT)
        found = derive.checkpoints(self.frame, self.model, domain.name, name, domain.tasks)
        return {100 - one.kept_percent: keeps_90("", one, full) for _, one in found if full}

    def halved(self) -> tuple[list[Chain], str]:
        """Chains of all domains and seeds that dropped half of the sublayers; domains without."""
        every = derive.chains(self.frame, model=self.model, name=self.chain())
        found = [chain for chain in every if chain.halved]
        return found, self.lacking({one.domain for one in found}, "the chain to half")


def joined(parts: Iterable[str]) -> str:
    """What is not empty, as one text."""
    return "; ".join(part for part in parts if part)
