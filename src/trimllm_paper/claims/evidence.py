"""What claims are checked on, and what a check finds."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from trimllm.base.names import PAPER_CRITERION
from trimllm_paper import derive, published
from trimllm_paper.context import Context, Domain
from trimllm_paper.derive import Accuracy, Chain
from trimllm_paper.frames import Frame, rows, where
from trimllm_paper.intervals import Difference
from trimllm_paper.recipe import FULL_FT
from trimllm_paper.verdict import KEEPS, above, all_of

BOTH, OURS = PAPER_CRITERION, "likelihood"
PAPER_DOMAINS = tuple(c for c in published.table("table2").columns if c in published.DOMAINS)
"""Domains that the paper specializes models on; a claim on every domain is on all of these, of
stand-ins on all that the configuration has (`Evidence.asked`)."""

DOCUMENTS = "documents"


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes:
        holds: whether its formula does; None where the intervals hold both answers, or `missing`.
        told: the numbers in it, in words; the same by our criterion stand beside, if it was asked.
        numbers: the same for programs.
        missing: what was not measured and is needed to say that it holds; "" for nothing. Without
            it a formula may still be refuted.
        differences: those that decide, with their intervals, by name; their bar is 0.
        n, seeds: what was `counted` (documents, where that is not told) and seeds behind it.
        own: whether all of it is the paper's own; None: as the context's model and data are.
        before, after: words around `told`.
        ours: our criterion's numbers in words, where these are others.
    """

    holds: bool | None
    told: str
    numbers: dict[str, Any]
    missing: str = ""
    differences: Mapping[str, Difference] = field(default_factory=dict)
    n: int | None = None
    counted: str = DOCUMENTS
    seeds: int | None = None
    own: bool | None = None
    before: str = ""
    after: str = ""
    ours: str = ""


def missing(what: str, numbers: Mapping[str, Any] | None = None) -> Finding:
    """The finding of a check that lacks a measurement."""
    return Finding(None, "", dict(numbers or {}), missing=what)


def conclude(answers: Iterable[bool | None], lacking: str = "") -> tuple[bool | None, str]:
    """Whether all of several conditions hold, and what is missing for that.

    One that fails refutes, whatever else is missing; nothing holds while something is.
    """
    found = all_of(answers)
    return (False, "") if found is False else pooled(found, lacking)


def pooled(found: bool | None, lacking: str) -> tuple[bool | None, str]:
    """The same of a mean, or a sum: as long as a part of it is missing, it refutes nothing."""
    return (None, lacking) if lacking else (found, "")


Check = Callable[["Evidence"], Finding]
CLAIMS: dict[str, tuple[str, Check, bool]] = {}
"""Claim's id -> formula, check, whether our criterion is asked, too; of all imported groups."""


def claim(formula: str, *, ours: bool = False) -> Callable[[Check], Check]:
    """Enter a check, under its function's name; asked of `ours`, it has a verdict of its own."""

    def enter(check: Check) -> Check:
        CLAIMS[check.__name__] = formula, check, ours
        return check

    return enter


@dataclass(frozen=True)
class Evidence:
    """What was measured of one model; `criterion` is whose chains are asked about."""

    frame: Frame
    context: Context
    criterion: str = BOTH

    @property
    def model(self) -> str:
        """The model's name in paths."""
        return self.context.model.name

    def name(self, criterion: str = "", ratio: float | None = None) -> str:
        """Name of the chain by a criterion: at a `ratio` that of Tables 3 and 6, which differs from
        the main one by no more; without one the recipe that is shown, if one is."""
        criterion = criterion or self.criterion
        shown = [name for name, one in self.context.recipes.items() if one.criterion == criterion]
        if shown and ratio is None:
            return shown[0]
        return self.context.variant(criterion, ratio or self.context.main.ratio)

    @property
    def asked(self) -> tuple[str, ...]:
        """The domains that a claim on every domain is asked of: all of the paper's, of what is the
        paper's own; of a stand-in those that its configuration has."""
        return PAPER_DOMAINS if self.context.own else tuple(x.name for x in self.context.domains)

    def lacking(self, found: Container[str], what: str) -> str:
        """What is missing in those of them that are not among some; "" if none is."""
        names = ", ".join(name for name in self.asked if name not in found)
        return f"{what} in {names}" if names else ""

    def within(self, found: Container[str]) -> str:
        """Which domains something was found in, to stand before it; "" if it is in all five."""
        if all(name in found for name in PAPER_DOMAINS):
            return ""
        names = ", ".join(one.name for one in self.context.domains if one.name in found)
        return f"in {names}: "

    def accuracy(self, domain: Domain, recipe: str) -> Accuracy | None:
        """Accuracy of a recipe on its own domain's column."""
        return derive.accuracy(self.frame, self.model, domain.name, recipe, domain.tasks)

    def near(self, domain: Domain, kept_percent: float) -> str | None:
        """Recipe of the chain's checkpoint that stands for a kept fraction."""
        return derive.nearest(self.frame, self.model, domain.name, self.name(), kept_percent)

    def passes(self, domain: Domain, name: str) -> dict[float, Difference]:
        """Units dropped (%) -> accuracy less 90% of Full-FT's, of a chain's checkpoints.

        Empty where the chain or Full-FT was not evaluated.
        """
        full = self.accuracy(domain, FULL_FT)
        found = derive.checkpoints(self.frame, self.model, domain.name, name, domain.tasks)
        return {100 - one.kept_percent: one.minus(full, KEEPS) for _, one in found} if full else {}

    def furthest_held_back(self, domain: Domain) -> tuple[list[float], int] | None:
        """Share of units dropped (%) until which every state of the chain answers more than 90% as
        many of the held-back documents as Full-FT does, by seed, and how many documents these are;
        None where this was not asked. A later state that does so after one that does not counts
        for nothing: of so few documents some pass by luck.

        Finer than the checkpoints that are evaluated: there is a state after every epoch.
        """
        place = {"model": self.model, "domain": domain.name}
        full = where(self.frame.trainings, **place, recipe=FULL_FT, kept=True)
        states = where(self.frame.epochs, **place, name=self.name())
        states = states[states.held_back.notna() & (states.dropped > 0)].sort_values("dropped")
        found, documents = [], set()
        for one in rows(full[full.held_back.notna()]):
            if len(chain := where(states, results=one.results)):
                passed = chain[(chain.held_back > KEEPS * one.held_back).cummin()]
                found.append(100 * float(max([*(passed.dropped / passed.units_total)], default=0)))
                documents |= {*chain.held_back_documents}
        return (found, int(min(documents))) if found else None

    def chains(self) -> dict[str, Chain]:
        """Domain -> record of the chain, all of one seed: the configured one, or the first."""
        found = derive.chains(self.frame, model=self.model, name=self.name())
        seeds = sorted((chain.seed for chain in found), key=lambda seed: seed != self.context.seed)
        return {chain.domain: chain for chain in found if chain.seed == seeds[0]}

    def halved(self) -> tuple[dict[str, Chain], str]:
        """The chains that dropped half of the units, by domain; and those that are missing."""
        found = {name: one for name, one in sorted(self.chains().items()) if one.halved}
        return found, self.lacking(found, "the chain to half of the units")


@dataclass(frozen=True)
class Furthest:
    """How far a chain may go (percent of the units dropped) and keep more than 90% of Full-FT.

    `likely` by the accuracies themselves, `surely` where the interval lies above the bar, and
    `possibly` where it does not lie below; None: not even the first checkpoint. `fails` is the
    first checkpoint after the last possible one (None: there is none), between which nobody looked.
    """

    likely: float | None
    surely: float | None
    possibly: float | None
    fails: float | None
    first: float
    last: float

    @classmethod
    def of(cls, passes: Mapping[float, Difference], end: float = 100.0) -> Furthest:
        """Of a chain's checkpoints up to `end`. Raises `ValueError` for none."""
        shares = {share: one for share, one in passes.items() if share <= end + 1e-9}
        told = {share: above(one.low, one.high) for share, one in shares.items()}
        possibly = max((share for share, one in told.items() if one is not False), default=None)
        return cls(
            max((share for share, one in shares.items() if one.points > 0), default=None),
            max((share for share, answer in told.items() if answer), default=None),
            possibly,
            min((share for share in shares if possibly is None or share > possibly), default=None),
            min(shares),
            max(shares),
        )

    def at_least(self, share: float) -> bool | None:
        """Whether it goes so far; None if that is open."""
        if self.surely is not None and self.surely >= share - 1e-9:
            return True
        return False if self.fails is not None and self.fails <= share + 1e-9 else None

    def __str__(self) -> str:
        ends = (f"< {self.first:.0f}%" if x is None else f"{x:.0f}%" for x in self._told())
        return " to ".join(dict.fromkeys(ends))

    def _told(self) -> tuple[float | None, float | None]:
        return (self.surely, self.possibly)


def listed(values: Iterable[Any], form: str, between: str = ", ") -> str:
    """Some values in words, each in the same form."""
    return between.join(form.format(*value) for value in values)
