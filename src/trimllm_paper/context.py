"""What tables, figures and claims show: their part of the configuration.

Rules pass it to their scripts as plain data (`model_dump(mode="json")`), so that Snakemake sees
what changed; `Context.model_validate(plain)` makes it again.
"""

from typing import Any, Self

from pydantic import BaseModel

from trimllm.base.names import PAPER_CRITERION
from trimllm_paper.config import Config
from trimllm_paper.config import models as sections
from trimllm_paper.recipe import variant_name

STAND_IN_FOR = "llama-7b"  # the paper's model that a stand-in is shown beside
OPT = "opt"  # family with a table of its own; all others stand in the main tables
FULL, BY_LORA = "Full-FT", "LoRA-FT"  # labels of full fine-tuning, of adapters in its place


class Model(BaseModel, frozen=True):
    """A model; `published` is its key among the paper's numbers, None for a stand-in."""

    name: str
    label: str
    published: str | None = None
    family: str = "llama"
    units: int = 0


class Domain(BaseModel, frozen=True):
    """A domain; `stand_in` says what its documents are, if they are not the paper's."""

    name: str
    label: str
    tasks: tuple[str, ...]
    stand_in: str | None = None


class Context(BaseModel, frozen=True, extra="forbid"):
    """What is shown, with the sections of the configuration that tables need."""

    models: tuple[Model, ...] = ()
    domains: tuple[Domain, ...] = ()  # that are trained on
    tested: tuple[Domain, ...] = ()  # that are tested on only
    recipes: dict[str, sections.RecipeEntry] = {}
    chains: tuple[str, ...] = ()  # recipes that are run, the main one first
    lora: bool = False  # adapters stand in for full fine-tuning
    trim: sections.Trim = sections.Trim()
    compress: sections.Compress = sections.Compress()
    tables: sections.Tables = sections.Tables()
    throughput: sections.ThroughputSection = sections.ThroughputSection()
    engines: sections.EnginesSection = sections.EnginesSection()

    @classmethod
    def of(cls, config: Config, model: str | None = None) -> Self:
        """What a configuration shows; with `model` in the figures and claims of one."""
        every = [
            Domain(name=name, label=one.label, tasks=tuple(one.tests), stand_in=one.stand_in)
            for name, one in config.tested.items()
        ]
        shown: dict[str, Any] = {
            "models": [
                Model(name=name, units=one.units, **one.model_dump())
                for name, one in config.models.items()
                if model in (None, name)
            ],
            "domains": [one for one in every if one.name in config.domains],
            "chains": config.trim.recipes,
            "lora": config.finetune.lora is not None,
        }
        if model:
            return cls(**shown, recipes={name: config.recipes[name] for name in shown["chains"]})
        names = ("recipes", "trim", "compress", "tables", "throughput", "engines")
        shown |= {name: getattr(config, name) for name in names}
        shown["tested"] = [one for one in every if one.name not in config.domains]
        return cls(**shown)

    def named(self, text: str) -> str:
        """A text on what was measured; adapters in place of full fine-tuning have their label."""
        return text.replace(FULL, BY_LORA) if self.lora else text

    # ---- figures and claims --------------------------------------------------------------------

    @property
    def model(self) -> Model:
        """The model that figures and claims are of."""
        return self.models[0]

    @property
    def beside(self) -> str:
        """Key of the paper's model that it is, or is shown beside."""
        return self.model.published or STAND_IN_FOR

    @property
    def own(self) -> bool:
        """Whether model and all data are the paper's own."""
        stand_ins = self.lora or any(one.stand_in for one in self.domains)
        return bool(self.model.published) and not stand_ins

    # ---- tables --------------------------------------------------------------------------------

    @property
    def main(self) -> sections.RecipeEntry:
        """The recipe from which derived chains differ by criterion or ratio."""
        return self.recipes[self.chains[0]]

    @property
    def paper_chain(self) -> tuple[str, ...]:
        """The first recipe by the paper's criterion, if there is one."""
        return tuple(c for c in self.chains if self.recipes[c].criterion == PAPER_CRITERION)[:1]

    @property
    def other_chains(self) -> tuple[str, ...]:
        """All other recipes."""
        return tuple(c for c in self.chains if c not in self.paper_chain)

    @property
    def timed(self) -> Domain:
        """The domain whose training is timed: SciQ, as in the paper, or the first one."""
        return next((one for one in self.domains if one.name == "sciq"), self.domains[0])

    def variant(self, criterion: str, ratio: float) -> str:
        """Name of the chain that differs from the main one by criterion or ratio."""
        return variant_name(self.recipes, self.main, criterion, ratio)

    def select(self, which: str) -> tuple[Model, ...]:
        """Models: `main` ones, the `compared` ones of Tables 3 to 6 and 9, or those of `opt`."""
        if which == "compared" and self.tables.models:
            return tuple(m for name in self.tables.models for m in self.models if m.name == name)
        return tuple(m for m in self.models if (m.family == OPT) == (which == OPT))

    def trained(self, which: str) -> tuple[Domain, ...]:
        """Domains: `all`, the `compared` ones, or those with a `near` one and these."""
        every = {domain.name: domain for domain in (*self.domains, *self.tested)}
        if which == "near":
            return tuple(every[name] for pair in self.tables.near.items() for name in pair)
        if which == "compared" and self.tables.domains:
            return tuple(every[name] for name in self.tables.domains)
        return self.domains
