"""What tables, figures and claims show: all that they take from the configuration.

Rules pass it to their scripts as plain data (`model_dump(mode="json")`), so that Snakemake sees
what changed; `Context(**plain)` makes it again.
"""

from __future__ import annotations

import json
from operator import attrgetter
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from trimllm.base.names import PAPER_CRITERION
from trimllm.exporting.formats import COMPRESSED, FORMATS
from trimllm_paper.recipe import keys_of, variant_name

STAND_IN_FOR = "llama-7b"
"""The paper's model that a stand-in is shown beside."""
OPT = "opt"
"""Family of models that have a table of their own; all others stand in the main tables."""
TIMED_DOMAIN = "sciq"
"""The domain whose training the paper times."""
CROSS_KEPT = 40
"""Percent of the sublayers that the paper's specialized models keep."""
FULL, BY_LORA = "Full-FT", "LoRA-FT"
"""Labels of full fine-tuning, and of adapters trained in its place."""
Names = Annotated[tuple[str, ...], BeforeValidator(tuple)]
"""Names; of a mapping its keys."""


class Plain(BaseModel):
    """Plain data; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Model(Plain):
    """A model; `published` is its key among the paper's numbers, None for a stand-in."""

    name: str
    label: str
    published: str | None = None
    family: str = "llama"
    units: int = 0


class Domain(Plain):
    """A domain; `stand_in` says what its documents are, if they are not the paper's."""

    name: str
    label: str
    tasks: Names
    stand_in: str | None = None


class Shown(Plain):
    """A recipe; `rest`: its other keys as JSON."""

    name: str
    criterion: str
    ratio: float
    step: int
    rest: str = ""

    @property
    def keys(self) -> dict[str, str]:
        """All keys with their values as JSON; nested ones as `teacher.kl`."""
        plain = {"criterion": self.criterion, "ratio": self.ratio, "step": self.step}
        every = keys_of(plain | json.loads(self.rest or "{}"))
        return {key: json.dumps(value).strip('"') for key, value in every}


def _key(path: str, default: Any = ()) -> Any:
    """A field of tables alone: where the configuration has it, and its default."""
    return Field(default, json_schema_extra={"path": path})


class Context(Plain):
    """What is shown; figures and claims are of one model and need the first six fields alone.

    `lora`: adapters stand in for full fine-tuning; `domains` are trained on, `tested` only tested
    on; `chains`: the recipes that are run, the main one first; `table_models` to `near` belong to
    Tables 3 to 6 and 9 (no model or domain: all), `shapes` to `engine_batches` to throughput.
    """

    models: tuple[Model, ...] = ()
    domains: tuple[Domain, ...] = ()
    recipes: dict[str, Shown] = {}
    chains: tuple[str, ...] = ()
    criteria: tuple[str, ...] = ()
    lora: bool = False
    tested: tuple[Domain, ...] = ()
    kept_percent: tuple[float, ...] = _key("trim.kept_percent", (50, 40, 30))
    compressors: tuple[str, ...] = _key("compress.methods")
    table_models: tuple[str, ...] = _key("tables.models")
    table_domains: tuple[str, ...] = _key("tables.domains")
    rules: tuple[str, ...] = _key("tables.rules")
    ratios: tuple[float, ...] = _key("tables.ratios")
    smallest_percent: float | None = _key("tables.smallest_percent", None)
    cross_percent: float | None = _key("tables.cross_percent", None)
    near: dict[str, str] = _key("tables.near", {})
    shapes: tuple[str, ...] = _key("throughput.shapes")
    patterns: Names = _key("throughput.patterns")
    timed_percent: tuple[float, ...] = _key("throughput.kept_percent")
    timed_compressors: tuple[str, ...] = _key("throughput.compressors")
    composed: tuple[str, ...] = _key("throughput.composed")
    checkpoints: bool = _key("throughput.checkpoints", True)
    engine_formats: tuple[str, ...] = _key("engines.formats")
    engine_percent: tuple[float, ...] = _key("engines.kept_percent")
    engine_batches: tuple[int, ...] = _key("engines.batches")
    seed: int | None = _key("seed", None)

    @classmethod
    def of(cls, config: Any, model: str | None = None) -> Context:
        """What a configuration (`config.Config`) shows; with `model` in the figures of one."""

        def shown(kind: Any, entries: dict[str, Any], **renamed: str) -> list[Any]:
            fields = {key: renamed.get(key, key) for key in kind.model_fields.keys() - {"name"}}
            return [
                kind(name=name, **{key: getattr(one, own) for key, own in fields.items()})
                for name, one in entries.items()
            ]

        names = config.trim.recipes if model else config.recipes
        recipes = shown(Shown, {name: config.recipes[name] for name in names})
        found: dict[str, Any] = {
            "models": shown(Model, {model: config.models[model]} if model else config.models),
            "domains": shown(Domain, config.domain_specs, tasks="tests"),
            "recipes": {recipe.name: recipe for recipe in recipes},
            "chains": config.trim.recipes,
            "lora": config.finetune.lora is not None,
        }
        if not model:
            found |= {"criteria": [*config.tables.criteria]}
            found |= {"tested": shown(Domain, config.near_specs, tasks="tests")}
            for name, field in cls.model_fields.items():
                if isinstance(field.json_schema_extra, dict):
                    found[name] = attrgetter(str(field.json_schema_extra["path"]))(config)
        return cls(**{name: value for name, value in found.items() if value is not None})

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
    def main(self) -> Shown:
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
    def switched(self) -> str:
        """The keys in which every other recipe differs from the main one, with their values."""
        own, differences = self.main.keys.items(), []
        for name in self.chains[1:]:
            keys = [f"{k}: {v}" for k, v in self.recipes[name].keys.items() if (k, v) not in own]
            differences.append(f"{name} {', '.join(keys) or 'nothing'}")
        return "; ".join(differences)

    @property
    def cross_kept(self) -> float:
        """Percent of the sublayers that models keep which are tested on other domains."""
        usual = CROSS_KEPT if CROSS_KEPT in self.kept_percent else min(self.kept_percent, default=0)
        return self.cross_percent or usual

    @property
    def timed_kept(self) -> list[float]:
        """Kept fractions of Table 1, the largest first."""
        return sorted({*self.kept_percent, *self.timed_percent}, reverse=True)

    @property
    def made_formats(self) -> list[str]:
        """Formats of engines that a run of this configuration makes."""
        available = {*FORMATS} - ({*COMPRESSED} - {*self.compressors})
        return [name for name in self.engine_formats if name in available]

    @property
    def timed(self) -> Domain:
        """The domain whose training is timed: the paper's, or the first one."""
        domains = self.trained("compared")
        return next((domain for domain in domains if domain.name == TIMED_DOMAIN), domains[0])

    def variant(self, criterion: str, ratio: float) -> str:
        """Name of the chain that differs from the main one by criterion or ratio."""
        return variant_name(self.recipes, self.main, criterion, ratio)

    def select(self, which: str) -> tuple[Model, ...]:
        """Models: `main` ones, the `compared` ones of Tables 3 to 6 and 9, or a family."""
        if which == "compared" and self.table_models:
            return tuple(m for name in self.table_models for m in self.models if m.name == name)
        main = which in ("main", "compared")
        return tuple(m for m in self.models if (m.family != OPT if main else m.family == which))

    def trained(self, which: str) -> tuple[Domain, ...]:
        """Domains: `all`, the `compared` ones, or those with a `near` one and these."""
        every = {domain.name: domain for domain in (*self.domains, *self.tested)}
        if which == "near":
            return tuple(every[name] for pair in self.near.items() for name in pair)
        if which == "compared" and self.table_domains:
            return tuple(every[name] for name in self.table_domains)
        return self.domains
