"""What tables ask of the configuration, as plain data: a rule hands it to its script as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from trimllm.base.names import AUTHORS, PAPER_CRITERIA, PAPER_CRITERION
from trimllm_paper.recipe import variant_name

OPT = "opt"
"""Family of models that have a table of their own; all others stand in the main tables."""
TIMED_DOMAIN = "sciq"
"""The domain whose training the paper times."""
CROSS_KEPT = 40
"""Percent of the units that the paper's specialized models keep."""


class Plain(BaseModel):
    """Plain data; an unknown key is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Model(Plain):
    """A model; `published` is the paper's model that it *is*, None for a stand-in."""

    name: str
    label: str
    published: str | None = None
    family: str = "llama"
    units: int = 0


class Domain(Plain):
    """A domain; `tasks` are those that count for its column, None: all that were measured."""

    name: str
    label: str
    tasks: tuple[str, ...] | None = None
    stand_in: str | None = None


class Chain(Plain):
    """An entry of the configuration's `recipes`, as far as tables tell them apart."""

    criterion: str
    ratio: float
    step: int


class Context(Plain):
    """What the configuration says, made from plain dictionaries and lists.

    `tested` are domains that are only tested on; `chains` the names of recipes that are run, the
    main one first; `table_*` to `near` belong to Tables 3 to 6 and 9 (no name: all); `shapes` and
    what follows is about throughput; `layouts` are files of further tables and rows.
    """

    models: tuple[Model, ...] = ()
    domains: tuple[Domain, ...] = ()
    tested: tuple[Domain, ...] = ()
    recipes: dict[str, Chain] = {}
    chains: tuple[str, ...] = ()
    kept_percent: tuple[float, ...] = (50, 40, 30)
    compressors: tuple[str, ...] = ()
    table_models: tuple[str, ...] = ()
    table_domains: tuple[str, ...] = ()
    criteria: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    ratios: tuple[float, ...] = ()
    smallest_percent: float | None = None
    cross_percent: float | None = None
    near: dict[str, str] = {}
    shapes: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()
    timed_percent: tuple[float, ...] = ()
    timed_compressors: tuple[str, ...] = ()
    composed: tuple[str, ...] = ()
    checkpoints: bool = True
    seed: int | None = None
    layouts: tuple[str, ...] = ()

    @property
    def main(self) -> Chain:
        """The chain from which others differ by criterion or ratio."""
        return self.recipes[self.chains[0]] if self.chains else Chain(criterion="", ratio=1, step=1)

    @property
    def timed(self) -> Domain:
        """The domain whose training is timed: the paper's, or the first one."""
        found = self.trained("compared")
        return next((domain for domain in found if domain.name == TIMED_DOMAIN), found[0])

    def variant(self, criterion: str, ratio: float) -> str:
        """Name of the chain that differs from the main one by criterion or ratio."""
        known = variant_name(self.recipes, criterion, ratio, self.main.step)
        return AUTHORS if criterion == AUTHORS else known

    def select(self, which: str) -> tuple[Model, ...]:
        """Models: `main` ones, the `compared` ones of Tables 3 to 6 and 9, or a family."""
        main = tuple(model for model in self.models if model.family != OPT)
        if which == "compared" and self.table_models:
            return tuple(m for name in self.table_models for m in self.models if m.name == name)
        if which in ("main", "compared"):
            return main
        return tuple(model for model in self.models if model.family == which)

    def trained(self, which: str) -> tuple[Domain, ...]:
        """Domains: `all`, the `compared` ones, or those with a `near` one and these."""
        every = {domain.name: domain for domain in (*self.domains, *self.tested)}
        if which == "near":
            return tuple(every[name] for pair in self.near.items() for name in pair)
        if which == "compared" and self.table_domains:
            return tuple(every[name] for name in self.table_domains)
        return self.domains

    def lists(self) -> dict[str, Sequence[Any]]:
        """Words that stand for several values in loops of the layout."""
        paper = [c for c in self.chains if self.recipes[c].criterion == PAPER_CRITERION][:1]
        cross = CROSS_KEPT if CROSS_KEPT in self.kept_percent else min(self.kept_percent, default=0)
        timed = sorted({*self.kept_percent, *self.timed_percent}, reverse=True)
        ours = [c for c in self.criteria if c not in (*PAPER_CRITERIA, AUTHORS)]
        return {
            "kept_percent": self.kept_percent,
            "first_kept": self.kept_percent[:1],
            "cross_percent": [self.cross_percent or cross],
            "timed_percent": timed,
            "first_timed": timed[:1],
            "paper_chain": paper,
            "other_chains": [c for c in self.chains if c not in paper],
            "chains": self.chains,
            "chains_and_patterns": [*self.chains, *self.patterns],
            "paper_criteria": [c for c in self.criteria if c in PAPER_CRITERIA],
            "our_criteria": ours,
            "authors": [c for c in self.criteria if c == AUTHORS],
            "ratios": sorted(self.ratios, reverse=True),
            "composed": self.composed,
        }
