"""What tables, figures and claims show: all that they take from the configuration.

Rules hand it to their scripts as plain data (`model_dump(mode="json")`), of which Snakemake sees
what changed; `Context(**plain)` makes it again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from operator import attrgetter
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from trimllm.base.names import PAPER_CRITERIA, PAPER_CRITERION
from trimllm.throughput.formats import COMPRESSED, FORMATS
from trimllm_paper.recipe import keys_of, variant_name

STAND_IN_FOR = "llama-7b"
"""The paper's model that a stand-in is shown beside."""
OPT = "opt"
"""Family of models that have a table of their own; all others stand in the main tables."""
TIMED_DOMAIN = "sciq"
"""The domain whose training the paper times."""
CROSS_KEPT = 40
"""Percent of the units that the paper's specialized models keep."""
FULL, BY_LORA = "Full-FT", "LoRA-FT"
"""What full fine-tuning is called, and adapters that were trained in its place."""


Names = Annotated[tuple[str, ...], BeforeValidator(tuple)]
"""Names; of a mapping its keys."""


class Plain(BaseModel):
    """Plain data; an unknown key is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Model(Plain):
    """A model; `published` is its key among the paper's numbers, None for a stand-in."""

    name: str
    label: str
    published: str | None = None
    family: str = "llama"
    units: int = 0


class Domain(Plain):
    """A column; `stand_in` says what its documents really are, where they are not the paper's."""

    name: str
    label: str
    tasks: Names
    stand_in: str | None = None


class Shown(Plain):
    """A recipe: its name in paths, criterion, sparse-update ratio, units dropped an epoch, and the
    rest of its keys as one text."""

    name: str
    criterion: str
    ratio: float
    step: int
    rest: str = ""

    @property
    def keys(self) -> dict[str, str]:
        """All keys with their values as JSON writes them; one in another as `teacher.kl`."""
        plain = {"criterion": self.criterion, "ratio": self.ratio, "step": self.step}
        every = keys_of(plain | json.loads(self.rest or "{}"))
        return {key: json.dumps(value).strip('"') for key, value in every}


def told(path: str, default: Any = ()) -> Any:
    """A key of tables alone, and where the configuration tells it."""
    return Field(default, json_schema_extra={"path": path})


class Context(Plain):
    """What is shown; figures and claims are of one model and take the first six alone.

    `lora`: adapters stand in for full fine-tuning (`named`); `domains` are trained on, `tested`
    only tested on; `chains` are the names of the recipes that are run, the main one first;
    `table_models` to `near` belong to Tables 3 to 6 and 9 (no model or domain: all); `shapes` to
    `engine_batches` say what is timed.
    """

    models: tuple[Model, ...] = ()
    domains: tuple[Domain, ...] = ()
    recipes: dict[str, Shown] = {}
    chains: tuple[str, ...] = ()
    criteria: tuple[str, ...] = ()
    lora: bool = False
    tested: tuple[Domain, ...] = ()
    kept_percent: tuple[float, ...] = told("trim.kept_percent", (50, 40, 30))
    compressors: tuple[str, ...] = told("compress.methods")
    table_models: tuple[str, ...] = told("tables.models")
    table_domains: tuple[str, ...] = told("tables.domains")
    rules: tuple[str, ...] = told("tables.rules")
    ratios: tuple[float, ...] = told("tables.ratios")
    smallest_percent: float | None = told("tables.smallest_percent", None)
    cross_percent: float | None = told("tables.cross_percent", None)
    near: dict[str, str] = told("tables.near", {})
    shapes: tuple[str, ...] = told("throughput.shapes")
    patterns: Names = told("throughput.patterns")
    timed_percent: tuple[float, ...] = told("throughput.kept_percent")
    timed_compressors: tuple[str, ...] = told("throughput.compressors")
    composed: tuple[str, ...] = told("throughput.composed")
    checkpoints: bool = told("throughput.checkpoints", True)
    engine_formats: tuple[str, ...] = told("engines.formats")
    engine_percent: tuple[float, ...] = told("engines.kept_percent")
    engine_batches: tuple[int, ...] = told("engines.batches")
    seed: int | None = told("seed", None)

    @classmethod
    def of(cls, config: Any, model: str | None = None) -> Context:
        """What a configuration (`config.Config`) has to be shown, in the figures of one `model`."""

        def shown(kind: Any, entries: dict[str, Any]) -> list[Any]:
            told_as = {key: key for key in kind.model_fields.keys() - {"name"}}
            told_as |= {"tasks": "tests"} if kind is Domain else {}
            return [
                kind(name=name, **{key: getattr(one, own) for key, own in told_as.items()})
                for name, one in entries.items()
            ]

        names = config.trim.recipes if model else config.recipes
        found: dict[str, Any] = {
            "models": shown(Model, {model: config.models[model]} if model else config.models),
            "domains": shown(Domain, config.domain_specs),
            "recipes": {r.name: r for r in shown(Shown, {n: config.recipes[n] for n in names})},
            "chains": config.trim.recipes,
            "criteria": [] if model else [*config.tables.criteria],
            "lora": config.finetune.lora is not None,
        }
        if not model:
            found["tested"] = shown(Domain, config.near_specs)
            for name, field in cls.model_fields.items():
                if isinstance(field.json_schema_extra, dict):
                    found[name] = attrgetter(str(field.json_schema_extra["path"]))(config)
        return cls(**{key: value for key, value in found.items() if value is not None})

    @property
    def main(self) -> Shown:
        """The chain that stands for the paper's; others differ from it by criterion or ratio."""
        return self.recipes[self.chains[0]]

    @property
    def switched(self) -> str:
        """What every other chain's recipe has in place of the main one's, in words."""
        own, told = self.main.keys.items(), []
        for name in self.chains[1:]:
            keys = [f"{k}: {v}" for k, v in self.recipes[name].keys.items() if (k, v) not in own]
            told.append(f"{name} {', '.join(keys) or 'nothing'}")
        return "; ".join(told)

    @property
    def rates(self) -> str:
        """Learning rates that recipes have of their own, as the end of a sentence."""
        keys = {name: self.recipes[name].keys.get("learning_rate", "null") for name in self.chains}
        own = [f"{name} {rate}" for name, rate in keys.items() if rate != "null"]
        return f"; learning rates of their own: {', '.join(own)}" if own else ""

    # ---- figures and claims --------------------------------------------------------------------

    @property
    def model(self) -> Model:
        """The model that figures and claims are of."""
        return self.models[0]

    @property
    def beside(self) -> str:
        """Key of the paper's model that the model is, or is shown beside."""
        return self.model.published or STAND_IN_FOR

    @property
    def own(self) -> bool:
        """Whether model and all data are the paper's own."""
        stand_ins = self.lora or any(one.stand_in for one in self.domains)
        return bool(self.model.published) and not stand_ins

    def named(self, text: str) -> str:
        """Words on what was measured: adapters that stand in for full fine-tuning are called so."""
        return text.replace(FULL, BY_LORA) if self.lora else text

    # ---- tables --------------------------------------------------------------------------------

    @property
    def timed(self) -> Domain:
        """The domain whose training is timed: the paper's, or the first one."""
        found = self.trained("compared")
        return next((domain for domain in found if domain.name == TIMED_DOMAIN), found[0])

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

    def lists(self) -> dict[str, Sequence[Any]]:
        """Words that stand for several values in loops of the layout."""
        paper = [c for c in self.chains if self.recipes[c].criterion == PAPER_CRITERION][:1]
        cross = CROSS_KEPT if CROSS_KEPT in self.kept_percent else min(self.kept_percent, default=0)
        made = {*FORMATS} - ({*COMPRESSED} - {*self.compressors})
        formats = [one for one in self.engine_formats if one in made]
        timed = sorted({*self.kept_percent, *self.timed_percent}, reverse=True)
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
            "our_criteria": [c for c in self.criteria if c not in PAPER_CRITERIA],
            "ratios": sorted(self.ratios, reverse=True),
            "composed": self.composed,
            "main_chain": self.chains[:1],
            "engine_formats": formats,
            "engine_percent": self.engine_percent or self.kept_percent,
            "engine_batches": self.engine_batches,
        }
