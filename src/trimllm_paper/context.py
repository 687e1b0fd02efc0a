"""What figures and claims show: a model, its columns, the recipes of its chains.

All that they take from the configuration. Rules hand it to their scripts as plain data
(`model_dump`), of which Snakemake sees what changed.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from trimllm.base.names import AUTHORS

STAND_IN_FOR = "llama-7b"
"""The paper's model that a stand-in is shown beside."""


class _Plain(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Model(_Plain):
    """A model; `published` is its key among the paper's numbers, None for a stand-in."""

    name: str
    label: str
    published: str | None = None

    @property
    def beside(self) -> str:
        """Key of the paper's model that it is, or is shown beside."""
        return self.published or STAND_IN_FOR


class Domain(_Plain):
    """A column; `stand_in` says what its documents really are, where they are not the paper's."""

    name: str
    label: str
    tasks: tuple[str, ...]
    stand_in: str | None = None


class Shown(_Plain):
    """A recipe: its name in paths, criterion, sparse-update ratio and units dropped an epoch."""

    name: str
    criterion: str
    ratio: float
    step: int


class Context(_Plain):
    """What is shown; the first recipe is the main one."""

    model: Model
    domains: tuple[Domain, ...]
    recipes: tuple[Shown, ...]
    compat: bool = False
    """Whether what the authors' code did is shown beside."""

    @classmethod
    def of(cls, config: Any, model: str) -> Context:
        """What a configuration (`config.Config`) shows of one of its models."""
        spec = config.models[model]
        return cls(
            model=Model(name=model, label=spec.label, published=spec.published),
            domains=[
                Domain(name=name, label=one.label, tasks=tuple(one.tests), stand_in=one.stand_in)
                for name, one in config.domain_specs.items()
            ],
            recipes=[
                Shown(name=name, criterion=one.criterion, ratio=one.ratio, step=one.step)
                for name in config.trim.recipes
                for one in [config.recipes[name]]
            ],
            compat=config.compat == AUTHORS,
        )

    @property
    def main(self) -> Shown:
        """The recipe that stands for the paper's."""
        return self.recipes[0]

    @property
    def shown(self) -> tuple[Shown, ...]:
        """The recipes and, if it is asked for, what the authors' code did as one more."""
        authors = self.main.model_copy(update={"name": AUTHORS, "criterion": AUTHORS})
        return (*self.recipes, authors) if self.compat else self.recipes

    @property
    def own(self) -> bool:
        """Whether model and all data are the paper's own."""
        return bool(self.model.published) and not any(one.stand_in for one in self.domains)
