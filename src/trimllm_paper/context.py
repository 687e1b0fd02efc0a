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


class Plain(BaseModel):
    """Plain data; an unknown key is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Model(Plain):
    """A model; `published` is its key among the paper's numbers, None for a stand-in."""

    name: str
    label: str
    published: str | None = None


class Domain(Plain):
    """A column; `stand_in` says what its documents really are, where they are not the paper's."""

    name: str
    label: str
    tasks: tuple[str, ...]
    stand_in: str | None = None


class Shown(Plain):
    """A recipe: its name in paths, criterion, sparse-update ratio and units dropped an epoch."""

    name: str
    criterion: str
    ratio: float
    step: int


class Context(Plain):
    """What is shown; `recipes` by name, the main one first.

    `compat`: whether what the authors' code did is shown beside.
    """

    model: Model
    domains: tuple[Domain, ...]
    recipes: dict[str, Shown]
    compat: bool = False

    @classmethod
    def of(cls, config: Any, model: str) -> Context:
        """What a configuration (`config.Config`) shows of one of its models."""
        spec = config.models[model]
        chains = {name: config.recipes[name] for name in config.trim.recipes}
        return cls(
            model=Model(name=model, label=spec.label, published=spec.published),
            domains=[
                Domain(name=name, label=one.label, tasks=tuple(one.tests), stand_in=one.stand_in)
                for name, one in config.domain_specs.items()
            ],
            recipes={
                name: Shown(name=name, criterion=one.criterion, ratio=one.ratio, step=one.step)
                for name, one in chains.items()
            },
            compat=config.compat == AUTHORS,
        )

    @property
    def beside(self) -> str:
        """Key of the paper's model that the model is, or is shown beside."""
        return self.model.published or STAND_IN_FOR

    @property
    def own(self) -> bool:
        """Whether model and all data are the paper's own."""
        return bool(self.model.published) and not any(one.stand_in for one in self.domains)

    @property
    def main(self) -> Shown:
        """The recipe that stands for the paper's."""
        return next(iter(self.recipes.values()))

    @property
    def shown(self) -> dict[str, Shown]:
        """The recipes and, if it is asked for, what the authors' code did as one more."""
        authors = self.main.model_copy(update={"name": AUTHORS, "criterion": AUTHORS})
        return self.recipes | ({AUTHORS: authors} if self.compat else {})
