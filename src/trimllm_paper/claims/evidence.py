"""What claims are checked on, and what a check finds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from trimllm.base.names import PAPER_CRITERION
from trimllm_paper import derive
from trimllm_paper.context import Context, Domain
from trimllm_paper.derive import Accuracy, Chain
from trimllm_paper.frame import Frame, where
from trimllm_paper.recipe import FULL_FT
from trimllm_paper.verdict import KEEPS

BOTH, OURS = PAPER_CRITERION, "likelihood"


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes:
        holds: whether its formula does; None where a number is missing.
        told: the numbers in it, in words; the same by our criterion stand beside, if it was asked.
        numbers: the same for programs.
        n: documents behind it, where it is about accuracy.
        own: whether all of it is the paper's own; None: as the context's model and data are.
        before, after: words around `told`.
        ours: our criterion's numbers in words, where these are others.
    """

    holds: bool | None
    told: str
    numbers: dict[str, Any]
    n: int | None = None
    own: bool | None = None
    before: str = ""
    after: str = ""
    ours: str = ""


def missing(what: str, numbers: Mapping[str, Any] | None = None) -> Finding:
    """The finding of a check that lacks a measurement."""
    return Finding(None, "", dict(numbers or {}), before=f"not run: {what}")


Check = Callable[["Evidence"], Finding]
CLAIMS: dict[str, tuple[str, Check, bool]] = {}
"""Claim's id -> formula, check, whether our criterion is asked, too; of all imported groups."""


def claim(formula: str, *, ours: bool = False) -> Callable[[Check], Check]:
    """Enter a check, under its function's name. No verdict hangs on what `ours` finds."""

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
        """Name of the chain by a criterion, with as many drops an epoch as the main one.

        The recipe that is shown, if one is; else at `ratio` (None: the main one's) whatever was
        evaluated; "" for nothing.
        """
        criterion, recipes = criterion or self.criterion, self.context.recipes
        for name, one in recipes.items():
            if one.criterion == criterion and ratio in (None, one.ratio):
                return name
        main = self.context.main
        keys = {"criterion": criterion, "ratio": ratio or main.ratio, "step": main.step}
        return next(iter(where(self.frame.evaluations, **keys).name), "")

    def accuracy(self, domain: Domain, recipe: str) -> Accuracy | None:
        """Accuracy of a recipe on its own domain's column."""
        return derive.accuracy(self.frame, self.model, domain.name, recipe, domain.tasks)

    def near(self, domain: Domain, kept_percent: float) -> str | None:
        """Recipe of the chain's checkpoint that stands for a kept fraction."""
        return derive.nearest(self.frame, self.model, domain.name, self.name(), kept_percent)

    def checkpoints(self, domain: Domain, name: str) -> list[tuple[float, Accuracy]]:
        """(units dropped in %, accuracy) of a chain's evaluated checkpoints."""
        found = derive.checkpoints(self.frame, self.model, domain.name, name, domain.tasks)
        return [(100 - accuracy.kept_percent, accuracy) for _, accuracy in found]

    def furthest(self, domain: Domain, name: str, at_most: float = 100.0) -> float | None:
        """Units dropped (%), up to a share, of the smallest checkpoint above 90% of Full-FT.

        0 for none, None where Full-FT or the chain was not evaluated.
        """
        full, chain = self.accuracy(domain, FULL_FT), self.checkpoints(domain, name)
        if full is None or not chain:
            return None
        bar = KEEPS * full.percent
        good = [share for share, one in chain if share <= at_most and one.percent > bar]
        return max(good, default=0.0)

    def chains(self) -> dict[str, Chain]:
        """Domain -> record of the chain."""
        found = derive.chains(self.frame, model=self.model, name=self.name())
        return {chain.domain: chain for chain in found}


def listed(values: Iterable[Any], form: str, between: str = ", ") -> str:
    """Some values in words, each in the same form."""
    return between.join(form.format(*value) for value in values)
