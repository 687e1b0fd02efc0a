"""What comes before any checkpoint: the chains of a configuration, models, documents."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cached_property, lru_cache
from typing import Any

from trimllm.base.kept import drops_for
from trimllm.base.names import RULES
from trimllm_paper.config.domain import read_by
from trimllm_paper.config.models import Config, RecipeEntry
from trimllm_paper.gpus import uses_gpu
from trimllm_paper.integrity.codehash import code_hash
from trimllm_paper.integrity.lineage import Job
from trimllm_paper.recipe import PRETRAINED, Paths, Recipe, chains, end_of

Files = dict[str, Any]
"""Name of an input -> its file or files."""


class Prepared:
    """The part of `jobs.Jobs` that knows of no training."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.paths = Paths(os.path.normpath(config.results))
        self.of: Callable[..., Job] = lru_cache(maxsize=None)(self._of)

    def _of(self, kind: str, **wildcards: str) -> Job:
        """A job of a kind, made once."""
        return getattr(self, kind)(**wildcards)

    @cached_property
    def device(self) -> str:
        """Where jobs run."""
        return "cuda" if uses_gpu(self.config) else "cpu"

    # ---- chains --------------------------------------------------------------------------------

    @cached_property
    def chains(self) -> dict[str, RecipeEntry]:
        """Every chain that may be asked for, by name."""
        return chains(self.config)

    def end(self, model: str, name: str) -> int:
        """Drops of a whole chain: the fewest units that are kept anywhere."""
        return end_of(self.config, self.chains[name], self.config.models[model].units)

    def kept_recipes(self, model: str) -> list[Recipe]:
        """Checkpoints of the main tables' chains that stay and are evaluated, in order."""
        units, trim = self.config.models[model].units, self.config.trim
        return [
            Recipe.trimmed(name, drops, units)
            for name in trim.recipes
            for step in [self.chains[name].step]
            for drops in sorted({drops_for(kept, units, step) or 0 for kept in trim.kept_percent})
        ]

    def _chain(self, recipe: Recipe) -> dict[str, Any]:
        """What records of a recipe say of its chain, or of its dropping by rule."""
        if recipe.name in RULES:
            return {
                "criterion": recipe.name,
                "ratio": self.config.main.ratio,
                "step": recipe.dropped,
            }
        entry = self.chains.get(recipe.name or "")
        return {key: getattr(entry, key, None) for key in ("criterion", "ratio", "step")}

    def _own(self, model: str, criterion: str = "") -> list[str]:
        """What a job on a model runs of somebody's own, as `package.module:name`."""
        known = self.config.models.get(model)  # a shape is none
        return [name for name in (known.family if known else "", criterion) if ":" in name]

    # ---- fetch ---------------------------------------------------------------------------------

    def _wheels(self, names: list[str]) -> dict[str, Any]:
        return {name: self.config.wheels[name].model_dump() for name in names}

    def fetch_model(self, model: str) -> Job:
        """A pretrained checkpoint, and what it must agree with."""
        keys = {"source", "storage_dtype", "trust_remote_code", "family", "blocks", "parameters"}
        entry = self.config.models[model]
        found = entry.model_dump(include=keys, exclude_none=True)
        how = {
            "model": found,
            "wheels": self._wheels(entry.wheels),
            "code": code_hash("fetch_model", *self._own(model)),
        }
        return Job([self.paths.manifest(model, "base", PRETRAINED)], {}, how)

    def prepare(self, domain: str) -> Job:
        """A prepared domain. What plans expect of it changes nothing, nor does what an epoch or a
        scan takes of it."""
        config, spec = self.config, self.config.tested[domain]
        how = {
            "spec": read_by(spec.raw),
            "limits": {
                "test": config.evaluate.documents,
                "held_back": config.finetune.held_back_documents,
                "calibration": config.trim.calibration_pool,
            },
            "wheels": self._wheels(spec.wheels),
            "seed": config.seed,
            "code": code_hash("prepare"),
        }
        return Job([self.paths.data(domain)], {"sources": [*spec.files]}, how)

    def tests(self, domain: str) -> list[str]:
        """The prepared test documents of a domain, one file a task."""
        return [self.paths.tests(domain, task) for task in self.config.tested[domain].tests]

    def splits(self, domain: str) -> dict[str, str]:
        """What a domain is trained and calibrated on, and what is held back; nothing where it is
        tested on only."""
        names = ("train", "calibration", "held_back") if domain in self.config.domain_specs else ()
        return {name: self.paths.data(domain, f"{name}.jsonl") for name in names}

    def _trained_on(self, domain: str) -> Files:
        return {"train": self.splits(domain)["train"], "report": self.paths.data(domain)}

    def _scanned(self, domain: str) -> Files:
        """Calibration documents."""
        file = self.splits(domain)["calibration"]
        return {"calibration": file, "report": self.paths.data(domain)}

    # ---- checkpoints ---------------------------------------------------------------------------

    def checkpoint(self, model: str, domain: str, recipe: Recipe | str) -> Files:
        """What must be there before a checkpoint is read."""
        place = model, domain, recipe
        return {"manifest": self.paths.manifest(*place), "weights": self.paths.weights(*place)}

    def _loading(self, model: str) -> dict[str, Any]:
        """How a model's checkpoints are read and stored."""
        entry = self.config.models[model]
        return {
            "device": self.device,
            "storage_dtype": entry.storage_dtype,
            "trust_remote_code": entry.trust_remote_code,
        }
