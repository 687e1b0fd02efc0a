"""What claims are checked on, and what a check finds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
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
        measured: the numbers in it, in words.
        numbers: the same for programs.
        n: documents behind it, where it is about accuracy.
        own: whether all of it is the paper's own; None: as the context's model and data are.
        ours: the same formula by our criterion, in words; no verdict hangs on it.
    """

    holds: bool | None
    measured: str
    numbers: dict[str, Any]
    n: int | None = None
    own: bool | None = None
    ours: str = ""


def missing(what: str) -> Finding:
    """The finding of a check that lacks a measurement."""
    return Finding(None, f"not run: {what}", {})


Check = Callable[["Evidence"], Finding]
CHECKS: dict[str, tuple[str, Check]] = {}
"""Claim's id -> formula and check, of all groups that were imported."""


def claim(formula: str) -> Callable[[Check], Check]:
    """Enter a check, under its function's name, with its formula in symbols of what it measures."""

    def enter(check: Check) -> Check:
        CHECKS[check.__name__] = formula, check
        return check

    return enter


@dataclass(frozen=True)
class Evidence:
    """What was measured of one model."""

    frame: Frame
    context: Context

    def name(self, criterion: str, ratio: float | None = None) -> str:
        """Name of the chain by a criterion, with as many drops an epoch as the main one.

        The recipe that is shown, if one is; else at `ratio` (None: the main one's) whatever was
        evaluated; "" for nothing.
        """
        main = self.context.main
        for one in self.context.recipes:
            if one.criterion == criterion and ratio in (None, one.ratio):
                return one.name
        keys = {"criterion": criterion, "ratio": ratio or main.ratio, "step": main.step}
        return next(iter(where(self.frame.evaluations, **keys).name), "")

    def accuracy(self, domain: Domain, recipe: str) -> Accuracy | None:
        """Accuracy of a recipe on its own domain's column."""
        model = self.context.model.name
        return derive.accuracy(self.frame, model, domain.name, recipe, domain.tasks)

    def near(self, domain: Domain, criterion: str, kept_percent: float) -> str | None:
        """Recipe of the checkpoint that stands for a kept fraction."""
        place = self.context.model.name, domain.name, self.name(criterion)
        return derive.nearest(self.frame, *place, kept_percent)

    def checkpoints(self, domain: Domain, name: str) -> list[tuple[float, Accuracy]]:
        """(units dropped in %, accuracy) of a chain's evaluated checkpoints."""
        place = self.context.model.name, domain.name, name
        found = derive.checkpoints(self.frame, *place, domain.tasks)
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

    @cached_property
    def chains(self) -> list[Chain]:
        """Records of all chains, by domain."""
        return derive.chains(self.frame, model=self.context.model.name)

    def recorded(self, criterion: str) -> dict[str, Chain]:
        """Domain -> record of the chain by a criterion."""
        name = self.name(criterion)
        return {chain.domain: chain for chain in self.chains if chain.name == name}


def mean(values: Sequence[float]) -> float:
    """Of some numbers, at least one."""
    return sum(values) / len(values)
