"""What tables show of a configuration, as plain data that a rule hands to its script."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from trimllm.base.names import AUTHORS, PAPER_CRITERIA, PAPER_CRITERION
from trimllm_paper.context import Domain, Model, Shown
from trimllm_paper.recipe import variant_name

OPT = "opt"
"""Family of models that have a table of their own; all others stand in the main tables."""
TIMED_DOMAIN = "sciq"
"""The domain whose training the paper times."""
CROSS_KEPT = 40
"""Percent of the units that the paper's specialized models keep."""


class TableModel(Model):
    """A model with what decides in which tables it stands and how far its chains go."""

    family: str = "llama"
    units: int = 0


class Context(BaseModel):
    """What tables show; `model_dump(mode="json")` is plain data, from which `Context(**plain)` is.

    `domains` are trained on, `tested` only tested on; `chains` are the names of the recipes that
    are run, the main one first; `table_models` to `near` belong to Tables 3 to 6 and 9 (no model or
    domain: all); `shapes` to `checkpoints` say what is timed; `layouts` are files of further tables
    and rows.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    models: tuple[TableModel, ...] = ()
    domains: tuple[Domain, ...] = ()
    tested: tuple[Domain, ...] = ()
    recipes: dict[str, Shown] = {}
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

    @classmethod
    def of(cls, config: Any) -> Context:
        """What a configuration (`config.Config`) has to be shown."""
        tables, timed = config.tables, config.throughput
        authors = [AUTHORS] if config.compat == AUTHORS else []
        told = ("label", "published", "family", "units")
        domains, tested = (
            [
                Domain(
                    name=d.name, label=d.label or d.name, tasks=tuple(d.tests), stand_in=d.stand_in
                )
                for d in specs.values()
            ]
            for specs in (config.domain_specs, config.near_specs)
        )
        return cls(
            models=[
                TableModel(name=name, **{key: getattr(model, key) for key in told})
                for name, model in config.models.items()
            ],
            domains=domains,
            tested=tested,
            recipes={
                name: Shown(name=name, criterion=one.criterion, ratio=one.ratio, step=one.step)
                for name, one in config.recipes.items()
            },
            chains=config.trim.recipes,
            kept_percent=config.trim.kept_percent,
            compressors=config.compress.methods,
            table_models=tables.models or (),
            table_domains=tables.domains or (),
            criteria=[*tables.criteria, *authors],
            **{key: getattr(tables, key) for key in ("rules", "ratios", "near")},
            **{key: getattr(tables, key) for key in ("smallest_percent", "cross_percent")},
            shapes=timed.shapes,
            patterns=list(timed.patterns),
            timed_percent=timed.kept_percent,
            timed_compressors=timed.compressors,
            composed=timed.composed,
            checkpoints=timed.checkpoints,
            seed=config.seed,
            layouts=tables.layouts,
        )

    @property
    def main(self) -> Shown:
        """The chain from which others differ by criterion or ratio."""
        return self.recipes[self.chains[0]]

    @property
    def timed(self) -> Domain:
        """The domain whose training is timed: the paper's, or the first one."""
        found = self.trained("compared")
        return next((domain for domain in found if domain.name == TIMED_DOMAIN), found[0])

    def variant(self, criterion: str, ratio: float) -> str:
        """Name of the chain that differs from the main one by criterion or ratio."""
        known = variant_name(self.recipes, criterion, ratio, self.main.step)
        return AUTHORS if criterion == AUTHORS else known

    def select(self, which: str) -> tuple[TableModel, ...]:
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
