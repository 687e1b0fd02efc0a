"""What figures and claims show: a model, its columns, the recipes of its chains.

All that they take from the configuration. Rules hand it to their scripts as plain data
(`model_dump`), of which Snakemake sees what changed.
"""

from __future__ import annotations

from typing import Any

from trimllm.base.names import AUTHORS
from trimllm_paper.layout import Chain, Domain, Model, Plain

STAND_IN_FOR = "llama-7b"
"""The paper's model that a stand-in is shown beside."""


class Context(Plain):
    """What is shown; `recipes` by name, the main one first.

    `compat`: whether what the authors' code did is shown beside.
    """

    model: Model
    domains: tuple[Domain, ...]
    recipes: dict[str, Chain]
    compat: bool = False

    @classmethod
    def of(cls, config: Any, model: str) -> Context:
        """What a configuration (`config.Config`) shows of one of its models."""
        spec = config.models[model]
        domains = [
            Domain(name=name, label=one.label, tasks=tuple(one.tests), stand_in=one.stand_in)
            for name, one in config.domain_specs.items()
        ]
        keys = ("criterion", "ratio", "step")
        recipes = {
            name: {key: getattr(config.recipes[name], key) for key in keys}
            for name in config.trim.recipes
        }
        shown = Model(name=model, label=spec.label, published=spec.published)
        return cls(model=shown, domains=domains, recipes=recipes, compat=config.compat == AUTHORS)

    @property
    def beside(self) -> str:
        """Key of the paper's model that the model is, or is shown beside."""
        return self.model.published or STAND_IN_FOR

    @property
    def own(self) -> bool:
        """Whether model and all data are the paper's own."""
        return bool(self.model.published) and not any(one.stand_in for one in self.domains)

    @property
    def main(self) -> str:
        """Name of the recipe that stands for the paper's."""
        return next(iter(self.recipes))

    @property
    def shown(self) -> dict[str, Chain]:
        """The recipes and, if it is asked for, what the authors' code did as one more."""
        authors = self.recipes[self.main].model_copy(update={"criterion": AUTHORS})
        return self.recipes | ({AUTHORS: authors} if self.compat else {})
